import type {MemoryStore} from "llama-deltastore";
import t from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {moreTokens, randomTokens} from "../support/engine.js";
import {prompt} from "../support/turns-engine.js";
import {isWell} from "../support/turns.js";

// Conversations that begin alike hold the same blocks. These stay packed as long as any of them is warm.
t.setTimeout(240_000);

const {createContext, openTurns, taughtStore} = await openCold(t);
const context = await createContext(), [source, target] = [context.getSequence(), context.getSequence()];
const transform = {codec: "transform", ratio: 8} as const;

/** Parts that are stored frozen. */
async function frozenParts(memory: MemoryStore): Promise<number> {
    const names: string[] = [];
    for await (const {name} of memory.inventory()) names.push(name);
    return (await memory.objects(names)).filter((bytes) => Buffer.from(bytes!).subarray(6, 10).toString() === "DSNZ").length;
}

t.test("what a warm conversation holds stays packed, until that is cold, too", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory);
    await source.clearHistory();
    await evaluated(turns, "c", source, prompt);
    await turns.fork("c", "d");
    await evaluated(turns, "c", source, moreTokens(200, 2));
    t.match(await turns.restore("d", target), {evaluated: 0});
    await evaluated(turns, "d", target, moreTokens(200, 3));
    const bytes = await turns.bytes();

    await turns.freeze("c", transform);
    const one = await turns.bytes(), parts = await frozenParts(memory);
    t.ok(one < bytes, `${bytes} bytes, and ${one}`);
    t.ok(parts > 2 && parts < 8, `${parts} parts are frozen: those that only c has`);
    t.match(await turns.restore("d", target), {codec: "packed", evaluated: 0, damaged: []});
    t.match(await turns.restore("c", target), {codec: "transform", evaluated: 0, damaged: []});
    await isWell(t, turns);

    await turns.freeze("d", transform);
    t.ok(await frozenParts(memory) >= 2 * parts + 6, "c's blocks no longer keep d's");
    await isWell(t, turns);
    t.match(await turns.freeze("c", transform), {turns: 2}, "and now its own are frozen, too");
    const both = await turns.bytes();
    t.ok(both < one, `${one} bytes, and ${both}`);
    t.match(await turns.freeze("c", transform), {turns: 0});
    for (const name of ["c", "d"]) t.match(await turns.restore(name, target), {codec: "transform", evaluated: 0, damaged: []});
    const {all, own} = await turns.sizeOf("c");
    t.ok(own < 0.7 * all, "what was shared is shared again");
    await isWell(t, turns);
    await turns.close();
});

t.test("few rows of its own are frozen beside many that are shared", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory), long = await createContext("high", 6144), first = long.getSequence();
    await evaluated(turns, "c", first, randomTokens(6000, 6));
    await turns.fork("c", "d");
    await evaluated(turns, "c", first, moreTokens(70, 2));
    const before = await frozenParts(memory);
    t.match(await turns.freeze("c", transform), {turns: 1}, "the turn that d does not have");
    t.ok(await frozenParts(memory) > before);
    t.match(await turns.restore("c", first), {codec: "transform", evaluated: 0, damaged: []});
    await isWell(t, turns);
    await turns.close();
    await long.dispose();
});

t.test("age finds what became due by another conversation's freezing", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory, {cold: [{after: "0s", ...transform}]});
    await source.clearHistory();
    await evaluated(turns, "c", source, prompt);
    await turns.fork("c", "d");
    const first = await turns.freezeByAge(), second = await turns.freezeByAge();
    t.strictSame(first.frozen.map(({conversation}) => conversation).sort(), ["c", "d", "lessons"]);
    t.strictSame(second.frozen.map(({conversation, turns}) => [conversation, turns]), [[first.frozen.find(({conversation}) => conversation !== "lessons")!.conversation, 1]]);
    t.strictSame((await turns.freezeByAge()).frozen, []);
    t.equal((await turns.sizeOf("c")).all, (await turns.sizeOf("d")).all);
    await isWell(t, turns);
    await turns.close();
});

t.test("a fork of a frozen conversation goes on by itself", async (t) => {
    const turns = await openTurns(t, await taughtStore());
    await source.clearHistory();
    await evaluated(turns, "c", source, randomTokens(400, 5));
    await turns.freeze("c", transform);
    await turns.fork("c", "d");
    t.match(await turns.history("d"), await turns.history("c"));
    await turns.restore("d", target);
    await evaluated(turns, "d", target, moreTokens(100, 6));
    t.equal(await turns.delete("c"), true);
    t.match(await turns.restore("d", source), {codec: "transform", evaluated: 0, damaged: []});
    await turns.freeze("d", {codec: "tokens"});
    t.match(await turns.restore("d", source), {codec: "tokens", evaluated: 500});
    await isWell(t, turns);
    await turns.close();
});
