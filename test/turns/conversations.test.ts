import {MemoryStore, type Turn} from "llama-deltastore";
import t from "tap";
import {codeOf, moreTokens, rejection} from "../support/engine.js";
import {divergence, goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openTurnsEngine, prompt} from "../support/turns-engine.js";
import {inventoryOf, isWell} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

for (const tier of ["exact", "high", "evicting"]) {
    t.test(`${tier}: a turn adds only what is new, and an older one lacks only its newest rows`, async (t) => {
        const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
        const context = await createContext(tier), sequence = context.getSequence(), target = context.getSequence();
        await nextLogits(sequence, prompt);
        const first = await turns.save("c", sequence), before = await inventoryOf(memory);
        await turns.save("copy", sequence);
        const copied = await inventoryOf(memory);
        t.ok(copied.objects - before.objects <= 1, "the same rows under another name are a record");
        await turns.delete("copy");
        t.strictSame(await inventoryOf(memory), before);

        const reached = await nextLogits(sequence, moreTokens(64, 5));
        const held = sequence.contextTokens, second = await turns.save("c", sequence), after = await inventoryOf(memory);
        const blocks = tier === "exact" ? 4 : 2;
        t.ok(after.objects - before.objects <= 1 + blocks, `${after.objects - before.objects} objects more: a record and blocks; one tail for another`);
        if (tier !== "evicting") t.ok(after.bytes - before.bytes < 0.3 * before.bytes, `${after.bytes - before.bytes} bytes more than ${before.bytes}`);
        t.ok(second.bytes <= first.bytes, "less is said to be added");
        const expected = await goOn(sequence, 30);

        const meter = target.tokenMeter.getState(), older = await turns.restore("c", target, {turn: first.id});
        t.match(older, {turn: {id: first.id}, damaged: []});
        t.ok(older.evaluated > 0 && older.evaluated <= (tier === "exact" ? 15 : 64 + 64 + 4), `${older.evaluated} tokens were evaluated again`);
        t.equal(target.tokenMeter.diff(meter).usedInputTokens, older.evaluated);
        t.strictSame(target.contextTokens, prompt);
        const near = divergence(reached, await nextLogits(target, moreTokens(64, 5)));
        t.ok(near < {exact: 1e-6, high: 0.1, evicting: 1}[tier]!, `${near} nats`);  // with random weights dropped rows matter more
        t.match(await turns.restore("c", target), {turn: {id: second.id}, evaluated: 0});
        t.strictSame(target.contextTokens, held);
        sameLogits(t, (await goOn(target, 30)).slice(0, 2), expected.slice(0, 2));
        await isWell(t, turns);
        await context.dispose();
    });
}

t.test("a conversation keeps `history` turns, which can be listed and deleted", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory, history: 3});
    const context = await createContext(), sequence = context.getSequence(), saved: Turn[] = [];
    for (let turn = 0; turn < 5; turn++) {
        await sequence.evaluateWithoutGeneratingNewTokens(turn === 0 ? prompt.slice(0, 100) : moreTokens(40, turn));
        saved.push(await turns.save("talk", sequence));
    }
    const history = await turns.history("talk");
    t.strictSame(history.map(({id, whole}) => [id, whole]), saved.slice(2).map(({id}, index) => [id, index === 2]));
    t.equal(await codeOf(turns.restore("talk", sequence, {turn: saved[1]!.id})), "TURN_NOT_FOUND");
    t.match(await rejection(turns.restore("nobody", sequence)), {code: "TURN_NOT_FOUND", message: "nobody"});
    for (const name of ["history", "sizeOf"] as const) t.equal(await codeOf(turns[name]("nobody")), "TURN_NOT_FOUND");
    await turns.save("later", sequence);
    t.strictSame((await turns.list()).map(({name, turns, tokens}) => [name, turns, tokens]), [["later", 1, 260], ["talk", 3, 260]]);
    await settled(5);
    await turns.restore("talk", sequence);
    t.strictSame((await turns.list()).map(({name}) => name), ["talk", "later"], "the last used first");
    await isWell(t, turns);

    const {all, own} = await turns.sizeOf("talk");
    t.ok(own < all, `${own} of ${all}`);
    const {bytes} = await inventoryOf(memory);
    t.equal(await turns.delete("talk"), true);
    t.equal(bytes - (await inventoryOf(memory)).bytes, own);
    t.equal(await turns.delete("talk"), false);
    t.match(await turns.restore("later", sequence), {evaluated: 0});
    await turns.delete("later");
    t.strictSame([await inventoryOf(memory), await turns.bytes(), await turns.list()], [{objects: 0, bytes: 0}, 0, []]);
    await context.dispose();
});

t.test("a forked conversation goes on by itself, and shares what it has", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
    const context = await createContext(), sequence = context.getSequence(), other = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const first = await turns.save("one", sequence);
    await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(80, 2));
    await turns.save("one", sequence);
    const before = await inventoryOf(memory);
    await turns.fork("one", "two");
    await turns.fork("one", "early", {turn: first.id});
    t.strictSame(await inventoryOf(memory), before, "nothing is copied");
    t.strictSame(await turns.history("two"), await turns.history("one"));
    t.match(await turns.restore("two", other), {evaluated: 0});
    sameLogits(t, await goOn(other, 5), await goOn(sequence, 5));
    await turns.save("two", other);
    t.equal((await turns.history("one")).length, 2);
    await turns.delete("one");
    t.equal((await turns.history("two")).length, 3);
    t.strictSame((await turns.restore("early", sequence)).damaged, []);
    t.strictSame(sequence.contextTokens, prompt);
    await turns.fork("two", "early");
    t.strictSame(await turns.history("early"), await turns.history("two"), "takes the place of what the name stood for");
    t.match(await rejection(turns.fork("two", "two")), {code: "OPTION_INVALID", message: "two"});
    t.equal(await codeOf(turns.fork("nobody", "three")), "TURN_NOT_FOUND");
    t.equal(await codeOf(turns.fork("two", "three", {turn: "none"})), "TURN_NOT_FOUND");
    await isWell(t, turns);
    await context.dispose();
});

t.test("data is saved as it was when the save was called", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(), sequence = context.getSequence(), data = {mood: ["good"]};
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const saving = turns.save("c", sequence, {data});
    data.mood.push("bad");
    await saving;
    t.strictSame((await turns.restore("c", sequence)).data, {mood: ["good"]});
    t.strictSame((await turns.newest("c"))?.data, {mood: ["good"]});
    t.equal(await turns.newest("d"), null);
    await context.dispose();
});
