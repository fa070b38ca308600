import {join} from "node:path";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {generate, moreTokens, randomTokens} from "../support/engine.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openParkingEngine, parkedPrompt, type ParkingOptions} from "../support/parking.js";
import {storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {open} = await openParkingEngine(t);

type Pair = readonly [LlamaContextSequence, LlamaContextSequence];

for (const [name, options] of Object.entries<ParkingOptions>({
    "exact": {kvCache: "exact"}, "high": {}, "conservative": {kvCache: "conservative"}, "evicting": {kvCache: "evicting"},
    "shared": {policy: {sharing: {automatic: true}}}, "ruled": {policy: {rules: [{tokens: 300, tier: "conservative"}]}}
})) {
    t.test(`${name}: an idle sequence leaves memory, and goes on as one that never did`, async (t) => {
        const {store, context, twins, events, parked, held, turns} = await open(t, options);
        const [[sequence, few], [twin, twinOfFew]] = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const) as [Pair, Pair];
        for (const one of [sequence, twin]) await nextLogits(one, parkedPrompt);
        for (const one of [few, twinOfFew]) await one.evaluateWithoutGeneratingNewTokens(randomTokens(20, 2));
        const before = store.stats(context), tier = store.tierOf(sequence);
        for (let round = 0; round < 2; round++) {
            events.length = 0;
            await parked(1);
            t.strictSame(held(), [1], "what is soon evaluated again stays");
            t.ok(store.stats(context).pages < before.pages / 2, `${store.stats(context).pages} of ${before.pages} pages`);
            t.equal(sequence.nextTokenIndex, twin.nextTokenIndex);
            t.strictSame(sequence.contextTokens, twin.contextTokens);
            t.equal(store.tierOf(sequence), tier);
            t.strictSame([await turns.list(), (await turns.verify()).problems], [[], []]);
            sameLogits(t, await goOn(sequence, 10 * round), await goOn(twin, 10 * round));
            t.match(events.filter(({type}) => type !== "evict"), [{type: "park", sequenceId: 0}, {type: "unpark", sequenceId: 0, tokens: 400 + 201 * round}]);
        }
        await parked(1);
        const expected = await generate(twin, moreTokens(5, 7), 20);
        t.strictSame(await generate(sequence, moreTokens(5, 7), 20), expected);
        let left = await turns.verify();
        for (let tries = 0; tries < 100 && left.objects > 0; tries++) {  // before it is parked once more
            await settled(1);
            left = await turns.verify();
        }
        t.match(left, {conversations: 0, objects: 0}, "and leaves nothing in the store");
    });
}

t.test("any call on a parked sequence works on what it holds", async (t) => {
    const {store, context, twins, events, parked, turns} = await open(t, {sequences: 2, kvCache: "conservative"});
    const both = async (name: string, work: (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>, away = 1) => {
        const pairs = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const);
        for (const [first, second] of pairs) {
            await nextLogits(first, parkedPrompt);
            if (away === 2) await second.evaluateWithoutGeneratingNewTokens(randomTokens(100, 5));
        }
        await parked(away);
        for (const [first, second] of pairs) await work(first, second);
        for (const index of [0, 1] as const) {
            const [here, there] = pairs.map((pair) => pair[index]) as [LlamaContextSequence, LlamaContextSequence];
            t.strictSame(here.contextTokens, there.contextTokens, name);
            const question = here.nextTokenIndex === 0 ? randomTokens(20, 3) : moreTokens(20, 3);
            sameLogits(t, [await nextLogits(here, question), ...await goOn(here, 30)], [await nextLogits(there, question), ...await goOn(there, 30)], name);
        }
        for (const pair of pairs) for (const one of pair) await one.dispose();
        for (let wait = 0; wait < 200 && (await turns.verify()).objects > 0; wait++) await settled(20);
        events.length = 0;
        t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []}, `${name}: nothing is left in the store`);
    };
    const path = join(t.testdir(), "state.bin");
    await both("erased at its end", (sequence) => sequence.eraseContextTokenRanges([{start: 390, end: 400}]));
    await both("shifted", (sequence) => sequence.eraseContextTokenRanges([{start: 20, end: 70}]));
    await both("erased at its beginning", (sequence) => sequence.eraseContextTokenRanges([{start: 0, end: 30}]));
    await both("cleared", async (sequence) => await sequence.clearHistory());
    await both("a fork's source", async (sequence, other) => await storeFor(sequence).fork(sequence, other, {upTo: 350}));
    await both("a fork's target", async (sequence, other) => {
        await other.evaluateWithoutGeneratingNewTokens(randomTokens(90, 4));
        await storeFor(sequence).fork(other, sequence);
    });
    await both("both of a fork", async (sequence, other) => await storeFor(sequence).fork(sequence, other), 2);
    await both("given another tier", async (sequence) => {
        await storeFor(sequence).setTier(sequence, "compact");
        t.equal(storeFor(sequence).tierOf(sequence), "compact");
    });
    await both("evicted from", async (sequence) => await storeFor(sequence).evict(sequence, {keep: 0.5, scorer: "recency"}));
    await both("saved to a file", async (sequence, other) => {
        await sequence.saveStateToFile(path);
        await other.loadStateFromFile(path, {acceptRisk: true});
    });
    await both("replaced from a file", async (sequence) => await sequence.loadStateFromFile(path, {acceptRisk: true}));
    await both("saved as a turn and restored", async (sequence, other) => {
        const memory = await storeFor(sequence).openTurns({store: storeFolder(t)});
        await memory.save("c", sequence);
        await memory.restore("c", other);
        await memory.close();
    });
    await both("replaced by a turn", async (sequence, other) => {
        const memory = await storeFor(sequence).openTurns({store: storeFolder(t)});
        await other.evaluateWithoutGeneratingNewTokens(randomTokens(90, 4));
        await memory.save("c", other);
        await memory.restore("c", sequence);
        await memory.close();
    });

    function storeFor(_: LlamaContextSequence) {
        return store;  // the twins have another store, but any store works on a packed context
    }
});
