import type {Step, Turns} from "llama-deltastore";
import t, {type Test} from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {killedAfter} from "../support/killed-process.js";
import {prompt} from "../support/turns-engine.js";
import {isWell, storeFolder, wrapped} from "../support/turns.js";

const kills = Number(process.env["DELTASTORE_KILLS"] ?? 4);
t.setTimeout(180_000 + 10_000 * kills);

const {createContext, openTurns, teach, taughtStore} = await openCold(t);
const context = await createContext(), [source, target] = [context.getSequence(), context.getSequence()];
const transform = {codec: "transform", ratio: 8} as const;

const isLesson = (name: string): boolean => name === "lessons" || name === "learned";

/** Each conversation is whole, whichever form it has. */
async function allWhole(t: Test, turns: Turns, what: string): Promise<void> {
    for (const {name, codec, tokens} of await turns.list()) {
        if (isLesson(name)) continue;
        t.match(await turns.restore(name, target), {codec, damaged: [], evaluated: codec === "tokens" ? tokens : 0, turn: {tokens}}, `${what}, ${name}`);
        t.equal(target.nextTokenIndex, tokens);
    }
}

t.test("a process may end before any call of the store", async (t) => {
    const before = await taughtStore(), quiet = await openTurns(t, wrapped(before, {close: async () => undefined}));
    await quiet.freeze("lessons", {codec: "transform"});
    await evaluated(quiet, "c", source, prompt);
    await evaluated(quiet, "c", source, moreTokens(60, 2));
    let ended = 0;
    for (const [options, first] of [[transform, null], [{codec: "tokens"}, null], [{codec: "tokens"}, transform]] as const) for (let last = 0, done = false; !done; last++) {
        await quiet.fork("c", "d");
        await quiet.delete("c");
        if (first !== null) await quiet.freeze("d", first);
        let calls = 0;
        const die = async (): Promise<void> => { if (calls++ >= last) throw Object.assign(new Error("dead"), {code: "STORE_FAILED"}); };
        const turns = await openTurns(t, wrapped(before, {
            step: async (step: Step) => { await die(); return await before.step(step); },
            objects: async (names) => { await die(); return await before.objects(names); }, close: async () => undefined
        }));
        const outcome = await codeOf(turns.freeze("d", options));
        t.match(outcome, /^(fulfilled|STORE_FAILED)$/);
        done = outcome !== "STORE_FAILED";
        await turns.close();
        await isWell(t, quiet);
        await allWhole(t, quiet, `${options.codec} after ${last} calls`);
        await quiet.collectGarbage();
        await quiet.delete("d");
        await evaluated(quiet, "c", source, []);
        ended++;
    }
    t.ok(ended > 20, `${ended} ends`);
});

t.test(`a process that is killed ${kills} times while it freezes loses nothing`, async (t) => {
    const folder = storeFolder(t), random = new Gaussian(Date.now() % 65536);
    let turns = await openTurns(t, folder), told = 0;
    await teach(turns);
    await turns.fork("lessons", "learned");
    await turns.freeze("learned", transform);
    for (let kill = 0; kill < kills; kill++) {
        for (let begun = 0; begun < 3; begun++) {
            await source.clearHistory();
            await evaluated(turns, `${kill} ${begun}`, source, randomTokens(300, 3 * kill + begun));
            await evaluated(turns, `${kill} ${begun}`, source, moreTokens(40, 2));
        }
        await turns.close();
        told += (await killedAfter(random.integer(600), "cold-process.js", folder)).length;
        turns = await openTurns(t, folder);
        await isWell(t, turns);
        await allWhole(t, turns, `kill ${kill}`);
        for (const {name} of await turns.list()) if (!isLesson(name)) await turns.delete(name);
    }
    t.comment(`${told} were frozen`);
    await turns.collectGarbage();
    await isWell(t, turns);
    for (const {name} of await turns.list()) await turns.delete(name);
    await turns.collectGarbage();
    t.equal(await turns.bytes(), 0);
});
