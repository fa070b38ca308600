import {attach, MemoryStore, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, moreTokens, randomTokens} from "../support/engine.js";
import {divergence, nextLogits, sameLogits} from "../support/logits.js";
import {openParkingEngine} from "../support/parking.js";
import {isWell, storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, model, open} = await openParkingEngine(t);

const typesOf = (events: readonly StoreEvent[]) => events.map(({type}) => type);

t.test("six conversations go on in the memory of two", async (t) => {
    const bytes = await (async () => {
        const {store, context} = await open(t, {contextSize: 2048});
        await nextLogits(context.getSequence(), randomTokens(1800, 1));
        return store.stats(context).sequences[0]!.residentBytes;
    })();
    const limit = Math.ceil(2.6 * bytes), {store, context, twins, events, turns} = await open(t, {contextSize: 2048, sequences: 6, policy: {pool: {limit, pressure: {idle: 0}}}});
    const pairs = Array.from({length: 6}, () => [context.getSequence(), twins.getSequence()] as const);
    for (const [index, [sequence, twin]] of pairs.entries()) {
        const tokens = randomTokens(1700, index);
        sameLogits(t, [await nextLogits(sequence, tokens)], [await nextLogits(twin, tokens)]);
    }
    for (let round = 0; round < 3; round++) {
        for (const [index, [sequence, twin]] of pairs.entries()) {
            const tokens = moreTokens(20, 10 * round + index);
            const found = await nextLogits(sequence, tokens), expected = await nextLogits(twin, tokens);
            t.ok(divergence(expected, found) < 0.5, `${divergence(expected, found)} nats`);
            t.ok(store.stats(context).residentBytes <= limit);
        }
    }
    t.ok(store.stats(context).peakResidentBytes <= limit);
    t.ok(events.filter(({type}) => type === "unpark").length >= 12, `${typesOf(events)}`);
    t.notOk(typesOf(events).includes("refuse"));
    t.notOk(typesOf(events).includes("tier"), "nothing is degraded where it can be parked");
    // All at once don't fit. Those that are refused stay parked, or as they were.
    const lengths = pairs.map(([sequence]) => sequence.nextTokenIndex);
    const outcomes = await Promise.all(pairs.map(async ([sequence], index) => await codeOf(generate(sequence, moreTokens(10, index), 5))));
    t.ok(outcomes.every((code) => code === "fulfilled" || code === "POOL_LIMIT_REACHED"), `${outcomes}`);
    t.ok(outcomes.filter((code) => code === "fulfilled").length >= 2, `${outcomes}`);
    for (const [index, [sequence, twin]] of pairs.entries()) {
        if (outcomes[index] === "fulfilled") continue;
        t.equal(sequence.nextTokenIndex, lengths[index]);
        const found = await nextLogits(sequence, moreTokens(10, 80)), expected = await nextLogits(twin, moreTokens(10, 80));
        t.ok(divergence(expected, found) < 0.5, `${divergence(expected, found)} nats`);
    }
    t.ok(store.stats(context).peakResidentBytes <= limit);
    t.strictSame(await turns.list(), []);
    await isWell(t, turns);

    // A fork under pressure gives up no part of its source.
    const [[source], [target]] = pairs as unknown as [[LlamaContextSequence], [LlamaContextSequence]];
    await store.fork(source, target);
    t.strictSame(target.contextTokens, source.contextTokens);
    const rows = store.stats(context).sequences;
    t.strictSame([0, 1].map((number) => rows.find(({id}) => id === number)?.tokens), [source.nextTokenIndex, source.nextTokenIndex]);
});

t.test("a saved turn comes back in hardly more room than its sequence took", async (t) => {
    const shared = new MemoryStore(), tokens = randomTokens(220, 3);
    const openWith = async (pool: {limit?: number}) => {
        const store = await attach(llama, {policy: {pool, sharing: {automatic: false}}});
        const context = await model.createContext({contextSize: 512, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
        t.teardown(() => context.dispose());
        return {store, context, sequence: context.getSequence(), turns: await store.openTurns({store: shared})};
    };
    const saving = await openWith({});
    await saving.sequence.evaluateWithoutGeneratingNewTokens(tokens);
    await saving.turns.save("one", saving.sequence);
    const {residentBytes} = saving.store.stats(saving.context);
    const {turns, sequence} = await openWith({limit: Math.ceil(1.1 * residentBytes)});
    t.equal((await turns.restore("one", sequence)).evaluated, 0);
    t.strictSame(sequence.contextTokens, tokens);
});

t.test("parked rows push no saved conversation out of the store", async (t) => {
    const folder = storeFolder(t), common = {sharing: {automatic: false}};
    const store = await attach(llama, {policy: {...common, turns: {store: folder, park: 0.1, budget: 3_000_000}}});
    const context = await model.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache: "exact"});
    const turns = await store.openTurns(), sequences = [1, 2, 3, 4].map(() => context.getSequence());
    await sequences[0]!.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    await turns.save("kept", sequences[0]!);
    for (const [index, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(400, 10 + index));
    await settled(1500);
    t.match(await turns.list(), [{name: "kept"}]);
    t.ok(await turns.bytes() <= 3_000_000, `${await turns.bytes()} bytes`);
    t.ok(store.stats(context).sequences.length > 0, "what had no room stayed in memory");
    await context.dispose();
    await turns.close();
});
