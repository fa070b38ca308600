import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {evaluated, lossy, openCold} from "../support/cold.js";
import {codeOf, moreTokens, randomTokens, rejection} from "../support/engine.js";
import {divergence, goOn, nextLogits, sameLogits} from "../support/logits.js";
import {prompt} from "../support/turns-engine.js";
import {inventoryOf, isWell} from "../support/turns.js";

t.setTimeout(240_000);

const {createContext, openTurns, teach} = await openCold(t);

for (const kvCache of ["exact", "high", "evicting"]) {
    const context = await createContext(kvCache), [source, target, twin] = [context.getSequence(), context.getSequence(), context.getSequence()];
    const turns = await openTurns(t);
    await teach(turns, kvCache);
    t.teardown(() => context.dispose());

    for (const options of kvCache === "evicting" ? lossy.slice(0, 1) : lossy) t.test(`${options.codec}, ${kvCache}: what is frozen and thawed is near, and goes on`, async (t) => {
        const {codec} = options, next = moreTokens(1, 9);
        await source.clearHistory();
        const first = await evaluated(turns, codec, source, prompt), second = await evaluated(turns, codec, source, moreTokens(60, 2)), before = await turns.list();
        const {own} = await turns.sizeOf(codec), expected = await nextLogits(source, next);

        const report = await turns.freeze(codec, options);
        t.match(report, {codec: {name: codec}, turns: 2, bytesBefore: own});
        t.ok(report.bytesAfter < 0.9 * report.bytesBefore, `${report.bytesBefore} bytes, and ${report.bytesAfter}`);
        t.match(await turns.list(), before.map((one) => one.name === codec ? {...one, codec} : one), "it was used when it was used");
        t.match(await turns.history(codec), [{id: first.id, whole: false, codec}, {id: second.id, whole: true, codec}]);
        const {thawed, ...verified} = await turns.verify();
        t.match(verified, {problems: [], notThawed: null});
        t.ok(thawed > 5, `${thawed} parts were thawed`);

        t.match(await turns.restore(codec, target), {turn: {id: second.id}, codec, evaluated: 0, damaged: []});
        await twin.clearHistory();
        const near = divergence(expected, await nextLogits(target, next)), far = divergence(expected, await nextLogits(twin, [...randomTokens(560, 8), ...next]));
        t.ok(near < far, `${near} nats, and ${far} for another text`);
        await turns.restore(codec, target);
        await turns.restore(codec, twin);
        sameLogits(t, await goOn(target, 5), await goOn(twin, 5), "thawing gives the same each time");
        t.match(await turns.restore(codec, target, {turn: first.id}), {turn: {id: first.id}, codec});
        t.equal(target.nextTokenIndex, 500);
        t.match(await turns.freeze(codec, options), {turns: 0, bytesBefore: report.bytesAfter, bytesAfter: report.bytesAfter});

        // A turn that is saved after thawing refers to what is frozen, and loses no more.
        const bytes = await turns.bytes(), {id} = await evaluated(turns, codec, target, moreTokens(70, 3)), added = await turns.bytes() - bytes;
        t.ok(added < 0.5 * own, `${added} bytes`);
        t.match(await turns.restore(codec, twin), {turn: {id, codec}, codec, evaluated: 0, damaged: []});
        sameLogits(t, await goOn(twin, 5), await goOn(target, 5));
        await isWell(t, turns);
        await turns.freeze(codec, options);
        t.match(await turns.restore(codec, twin), {turn: {id}, codec, evaluated: 0, damaged: []});
        t.match(await turns.freeze(codec, {codec: "tokens"}), {turns: 3});
        t.match(await turns.restore(codec, twin), {turn: {id}, codec: "tokens", evaluated: 570});
        await isWell(t, turns);
    });
}

t.test("a codec that has too little to learn from says so; another lossy codec is refused", async (t) => {
    const turns = await openTurns(t), context = await createContext(), source = context.getSequence();
    await evaluated(turns, "c", source, prompt);
    const bytes = await turns.bytes();
    t.match(await rejection(turns.freeze("c", {codec: "transform"})), {code: "CODEC_UNTRAINED", message: /at least 1024 packed rows of the model, and the store has \d+/});
    t.equal(await turns.bytes(), bytes, "nothing is left of the attempt");
    await teach(turns);
    await turns.freeze("c", {codec: "transform"});
    t.match(await rejection(turns.freeze("c", {codec: "transform", ratio: 20})), {code: "OPTION_INVALID", message: /can't be frozen with transform \(ratio 20\): it is frozen with transform \(ratio 12\)/});
    t.equal(await codeOf(turns.freeze("c", {codec: "channel"})), "OPTION_INVALID");
    await isWell(t, turns);
    await context.dispose();
});

t.test("what would be no smaller stays packed, and free for another codec", async (t) => {
    const turns = await openTurns(t), context = await createContext(), source = context.getSequence();
    const {id} = await evaluated(turns, "c", source, prompt), before = await turns.list();
    t.match(await turns.freeze("c", {codec: "channel", keyBits: 8, valueBits: 8, group: 16}), {turns: 0});
    t.strictSame(await turns.list(), before);
    await turns.fork("c", "shared");
    await teach(turns);
    const bytes = await turns.bytes();
    t.match(await turns.freeze("shared", {codec: "transform"}), {turns: 0});
    t.ok(await turns.bytes() < bytes + 1000, "nothing was learned, as all is shared");
    await turns.delete("shared");
    t.match(await turns.freeze("c", {codec: "transform"}), {turns: 1});
    t.match(await turns.restore("c", source), {turn: {id}, codec: "transform", evaluated: 0});
    await turns.freeze("c", {codec: "tokens"});
    t.match(await rejection(turns.freeze("c", {codec: "transform"})), {code: "OPTION_INVALID", message: /keeps no rows; allowed is "tokens"/});
    await isWell(t, turns);
    await context.dispose();
});

t.test("a book is learned once, and again when there is twice as much to learn from; it goes when nobody needs it", async (t) => {
    const memory = new MemoryStore(), turns = await openTurns(t, memory), context = await createContext("high", 3072), source = context.getSequence();
    const books = async () => {
        const entries: string[] = [];
        for await (const key of memory.keys("book:")) entries.push(Buffer.from((await memory.get(key))!).toString("hex"));
        return entries;
    };
    await evaluated(turns, "a", source, randomTokens(1150, 1));
    await turns.freeze("a", {codec: "transform"});
    const [first] = await books();
    await turns.fork("a", "b");
    await turns.freeze("b", {codec: "transform"});
    t.strictSame(await books(), [first]);
    await source.clearHistory();
    await evaluated(turns, "c", source, randomTokens(2500, 3));
    await turns.freeze("c", {codec: "transform", ratio: 20});
    const [second, ...others] = await books();
    t.strictSame(others, []);
    t.not(second, first);
    for (const name of ["a", "b", "c"]) t.match(await turns.restore(name, source), {codec: "transform", evaluated: 0, damaged: []}, "each is thawed with its own");

    const [one, two] = await Promise.all([openTurns(t, memory), openTurns(t, memory)]);
    await teach(turns, "exact");
    const exact = await createContext("exact");
    await evaluated(turns, "d", exact.getSequence(), prompt);
    await exact.dispose();
    await Promise.all([one.freeze("lessons", {codec: "transform"}), two.freeze("d", {codec: "transform"})]);
    t.equal((await books()).length, 2, "one of two that learn at once takes the other's");
    await isWell(t, turns);
    for (const name of ["a", "b", "c", "d", "lessons"]) await turns.delete(name);
    t.ok((await inventoryOf(memory)).objects > 0);
    await turns.collectGarbage();
    t.equal(await turns.bytes(), 0);
    await context.dispose();
});
