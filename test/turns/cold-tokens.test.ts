import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {codeOf, moreTokens, randomTokens, rejection} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {openTurnsEngine, prompt} from "../support/turns-engine.js";
import {inventoryOf, isWell, storeFolder} from "../support/turns.js";

// Frozen with `tokens`, a conversation keeps no rows: what is restored is evaluated, and exact.
t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

for (const kvCache of ["exact", "high", "conservative", "evicting"]) {
    t.test(`${kvCache}: a conversation without rows is evaluated again`, async (t) => {
        const turns = await store.openTurns({store: storeFolder(t)}), context = await createContext(kvCache), [source, target, twin] = [context.getSequence(), context.getSequence(), context.getSequence()];
        await source.evaluateWithoutGeneratingNewTokens(prompt);
        const {id: first} = await turns.save("c", source, {data: 1});
        await source.evaluateWithoutGeneratingNewTokens(moreTokens(60, 2));
        const {id: second} = await turns.save("c", source, {data: 2}), [before] = await turns.list(), bytes = await turns.bytes();

        const report = await turns.freeze("c", {codec: "tokens"});
        t.match(report, {codec: {name: "tokens"}, turns: 2});
        t.equal(bytes - await turns.bytes() > 0.95 * report.bytesBefore, true, `${bytes} bytes, and ${await turns.bytes()}`);
        t.ok(report.bytesAfter < report.bytesBefore / 20, `${report.bytesBefore} bytes, and ${report.bytesAfter}`);
        await isWell(t, turns);
        t.match(await turns.list(), [{...before, codec: "tokens"}]);
        t.match(await turns.history("c"), [{id: first, whole: false, codec: "tokens"}, {id: second, whole: false, codec: "tokens"}]);
        t.match(await turns.newest("c"), {turn: {id: second}, data: 2});

        t.match(await turns.restore("c", target), {turn: {id: second}, data: 2, codec: "tokens", evaluated: 560, damaged: []});
        t.strictSame(target.contextTokens, source.contextTokens);
        await twin.evaluateWithoutGeneratingNewTokens(source.contextTokens);
        sameLogits(t, await goOn(target, 5), await goOn(twin, 5));
        t.match(await turns.restore("c", target, {turn: first}), {turn: {id: first}, data: 1, evaluated: 500});
        t.equal(target.nextTokenIndex, 500);

        const {id: third} = await turns.save("c", target);
        t.match(await turns.history("c"), [{codec: "tokens"}, {codec: "tokens"}, {id: third, whole: true, codec: undefined}]);
        t.match(await turns.restore("c", twin), {turn: {id: third}, codec: "packed", evaluated: 0, damaged: []});
        t.match(await turns.freeze("c", {codec: "tokens"}), {turns: 1});
        t.match(await turns.freeze("c", {codec: "tokens"}), {turns: 0});
        await isWell(t, turns);
        t.equal(await turns.delete("c"), true);
        t.equal(await turns.bytes(), 0);
        await turns.close();
        await context.dispose();
    });
}

t.test("a model that is another, and a sequence that is too short, are refused as ever", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext("high"), exact = await createContext("exact");
    const small = await createContext("high", {contextSize: 256});
    await context.getSequence().evaluateWithoutGeneratingNewTokens(randomTokens(300, 1));
    const source = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(300, 1));
    await turns.save("c", source);
    await turns.freeze("c", {codec: "tokens"});
    t.equal(await codeOf(turns.restore("c", exact.getSequence())), "STATE_FORMAT_MISMATCH");
    t.equal(await codeOf(turns.restore("c", small.getSequence())), "STATE_TOO_LARGE");
    for (const one of [context, exact, small]) await one.dispose();
});

t.test("what freezing can't do is told, and changes nothing", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory}), context = await createContext("high"), source = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("c", source);
    const before = await inventoryOf(memory), wrong = <T>(value: unknown) => value as T;
    for (const [options, message] of [
        [undefined, /options are undefined/], [{}, /codec is undefined; allowed are "transform", "vq", "pq", "channel" and "tokens"/],
        [{codec: "packed"}, /codec is 'packed'/], [{codec: "transfrom"}, /did you mean "transform"/],
        [{codec: "transform", ratio: NaN}, /ratio is NaN; allowed is a number from 2 to 64/], [{codec: "transform", ratio: 0}, /ratio is 0/],
        [{codec: "transform", ratio: 1000}, /ratio is 1000/], [{codec: "transform", ratio: "12"}, /ratio is '12'/],
        [{codec: "vq", size: 3}, /size is 3; allowed are 2, 4 and 8/], [{codec: "vq", threshold: -1}, /threshold is -1; allowed is a number from 0 to 1/],
        [{codec: "pq", parts: 3}, /parts is 3/], [{codec: "channel", keyBits: 2.5}, /keyBits is 2.5; allowed is a whole number from 1 to 8/],
        [{codec: "channel", group: 7}, /group is 7/], [{codec: "tokens", ratio: 2}, /no option "ratio" with the codec "tokens"; it has none/],
        [{codec: "transform", raito: 2}, /no option "raito" .*did you mean "ratio"/], [{codec: "vq", ratio: 4}, /no option "ratio" with the codec "vq"; allowed are "size" and "threshold"/]
    ] as const) t.match(await rejection(turns.freeze("c", wrong(options))), {code: "OPTION_INVALID", message});
    t.equal(await codeOf(turns.freeze("d", {codec: "tokens"})), "TURN_NOT_FOUND");
    t.equal(await codeOf(turns.freeze("", {codec: "tokens"})), "OPTION_INVALID");
    t.equal(await codeOf(turns.freeze("\0parked", {codec: "tokens"})), "OPTION_INVALID");
    for (const [cold, message] of [
        [5, /cold is 5/], [[5], /cold\[0\] is 5/], [[{after: 7, codec: "tokens"}], /cold\[0\]\.after is 7; allowed is a number with a unit/],
        [[{after: "7w", codec: "tokens"}], /after is '7w'/], [[{after: "7d"}], /cold\[0\]\.codec is undefined/],
        [[{after: "7d", codec: "tokens"}, {after: "168h", codec: "tokens"}], /cold\[1\]\.after is "168h", no later than "7d"/]
    ] as const) t.match(await rejection(store.openTurns({store: memory, cold: wrong(cold)})), {code: "OPTION_INVALID", message});
    t.strictSame(await inventoryOf(memory), before);
    await turns.close();
    t.equal(await codeOf(turns.freeze("c", {codec: "tokens"})), "DISPOSED");
    await context.dispose();
});
