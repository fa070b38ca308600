import {spawnSync} from "node:child_process";
import {join} from "node:path";
import {attach} from "llama-deltastore";
import t from "tap";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {nextLogits, sameLogits} from "../support/logits.js";
import {root} from "../support/paths.js";
import {loadTiny, tinyPath, unshared} from "../support/tiny-engine.js";

t.setTimeout(300_000);

const llama = await openLlama(), store = await attach(llama, {policy: unshared});
t.teardown(() => llama.dispose());

for (const name of ["lfm2", "qwen35", "granite-hybrid", "gemma3", "gemma4-shared", "gpt-oss-sinks"])
    t.test(`${name}: a turn is restored in a process of its own, and goes on with the same bits`, async (t) => {
        const model = await loadTiny(llama, name), folder = t.testdir(), turns = await store.openTurns({store: folder});
        const context = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
        const sequence = context.getSequence(), batches = [moreTokens(1, 2), moreTokens(30, 3), moreTokens(90, 4)];
        await nextLogits(sequence, randomTokens(600, 1));
        await turns.save("c", sequence);
        const expected: Float32Array[] = [];
        for (const tokens of batches) expected.push(await nextLogits(sequence, tokens));
        await turns.close();
        await context.dispose();
        const child = spawnSync(process.execPath, [join(root, "test/fixtures/turn-logits.mjs"), JSON.stringify({
            modelPath: await tinyPath(name), tiers: {}, context: "high", folder, conversation: "c", batches
        })], {encoding: "utf8", timeout: 60_000});
        t.equal(child.status, 0, child.stderr);
        const {rows, ...rest} = JSON.parse(child.stdout) as {evaluated: number; tokens: number; rows: number[][]};
        t.strictSame(rest, {evaluated: 0, tokens: 721});
        sameLogits(t, rows.map((row) => Float32Array.from(row)), expected);
    });
