import {attach} from "llama-deltastore";
import t from "tap";
import {generate, moreTokens, openLlama} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {killedAfter} from "../support/killed-process.js";
import {tinyPath} from "../support/tiny-engine.js";
import {storeFolder} from "../support/turns.js";

const kills = Number(process.env["DELTASTORE_KILLS"] ?? 15);
t.setTimeout(60_000 + 5000 * kills);

const llama = await openLlama(), store = await attach(llama, {policy: {sharing: {automatic: false}}});
const modelPath = await tinyPath(), model = await llama.loadModel({modelPath, gpuLayers: 0});
t.teardown(() => llama.dispose());

t.test(`a process that is killed ${kills} times loses no turn that it was told of`, async (t) => {
    const folder = storeFolder(t), random = new Gaussian(Date.now() % 65536);
    const context = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"}), sequence = context.getSequence();
    let saved = 0, midway = 0;
    for (let kill = 0; kill < kills; kill++) {
        const lines = await killedAfter(random.integer(400), "turn-process.js", modelPath, folder, String(kill));
        const newest = new Map<string, string>(), told = new Map<string, string[]>();
        for (const line of lines) {
            const [name, id] = line.split(" ") as [string, string];
            told.set(name, [...told.get(name) ?? [], id]);
            newest.set(name, id);
            saved++;
        }
        const turns = await store.openTurns({store: folder});
        t.strictSame((await turns.verify()).problems, [], `after ${lines.length} lines`);
        for (const [name, ids] of told) {
            const known = (await turns.history(name)).map(({id}) => id), unsaid = known.length - 1 - known.indexOf(newest.get(name)!);
            t.ok(unsaid === 0 || unsaid === 1, `${unsaid} turns were stored and not told of`);
            midway += unsaid;
            const expected = ids.slice(-6 + unsaid);
            t.strictSame(known.slice(known.length - unsaid - expected.length, known.length - unsaid), expected);
        }
        for (const {name, tokens} of await turns.list()) {
            t.match(await turns.restore(name, sequence), {evaluated: 0, damaged: []});
            t.equal(sequence.nextTokenIndex, tokens);
            t.equal((await generate(sequence, moreTokens(3, kill), 2)).length, 2);
        }
        await turns.close();
    }
    t.comment(`${saved} turns were told of, and ${midway} were not, but stored`);
    t.ok(saved > 3 * kills, `${saved} turns`);
    await context.dispose();
});
