import {join} from "node:path";
import {LmdbStore} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, moreTokens, randomTokens} from "../support/engine.js";
import {divergence, goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openParkingEngine, parkedPrompt} from "../support/parking.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {open} = await openParkingEngine(t);

t.test("rows that do not come back are evaluated again", async (t) => {
    const {folder, store, context, twins, events, parked, turns} = await open(t, {kvCache: "exact"});
    const lmdb = await LmdbStore.open(folder), meter = (sequence: LlamaContextSequence) => sequence.tokenMeter.usedInputTokens;
    t.teardown(() => lmdb.close());
    const remove = async (which: (bytes: number) => boolean) => {
        const names: string[] = [];
        for await (const {name, bytes} of lmdb.inventory()) if (which(bytes)) names.push(name);
        t.ok(names.length > 0);
        await lmdb.step({release: names});
    };
    const breaks: [string, () => Promise<unknown>][] = [
        ["everything is gone", () => remove(() => true)],
        ["a block is gone", async () => {
            for await (const {name, bytes} of lmdb.inventory()) if (bytes > 10_000) return await lmdb.step({release: [name]});
            return undefined;
        }],
        ["the entry is gone", async () => {
            for await (const key of lmdb.keys("")) await lmdb.step({delete: [key]});
        }],
        ["the entry is damaged", async () => {
            for await (const key of lmdb.keys("")) await lmdb.step({put: [[key, Buffer.alloc(300, 1)]]});
        }]
    ];
    const goesOn: [string, (sequence: LlamaContextSequence) => Promise<void>][] = [
        ["evaluated", async () => undefined],
        ["erased", async (sequence) => await sequence.eraseContextTokenRanges([{start: 395, end: 400}])],
        ["cleared", async (sequence) => await sequence.clearHistory()]
    ];
    for (const [what, breakIt] of breaks) {
        for (const [how, work] of goesOn) {
            const sequence = context.getSequence(), twin = twins.getSequence();
            for (const one of [sequence, twin]) await one.evaluateWithoutGeneratingNewTokens(parkedPrompt);
            await parked(1);
            await breakIt();
            const before = meter(sequence);
            for (const one of [sequence, twin]) await work(one);
            t.strictSame(sequence.contextTokens, twin.contextTokens);
            const question = twin.nextTokenIndex === 0 ? randomTokens(20, 3) : moreTokens(20, 3);
            const [found, expected] = [await nextLogits(sequence, question), await nextLogits(twin, question)];
            t.ok(divergence(expected, found) < 1e-6, `${what}, ${how}: ${divergence(expected, found)} nats`);
            if (how !== "cleared") t.equal(meter(sequence) - before, 400 + 19, "all is evaluated, and the last to generate");
            t.strictSame(sequence.contextTokens, twin.contextTokens);
            t.match(store.stats(context).sequences, [{tokens: sequence.nextTokenIndex}]);
            sameLogits(t, [await nextLogits(sequence, moreTokens(3, 4))], [await nextLogits(twin, moreTokens(3, 4))]);
            for (const one of [sequence, twin]) await one.dispose();
            await settled(30);
            events.length = 0;
        }
    }

    // Calls that can't evaluate by themselves have it done first.
    const before: [string, (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>][] = [
        ["forked", (sequence, other) => store.fork(sequence, other)], ["evicted", (sequence) => store.evict(sequence, {keep: 0.5, scorer: "recency"})],
        ["given a tier", (sequence) => store.setTier(sequence, "exact")], ["state saved", (sequence) => sequence.saveStateToFile(join(t.testdir(), "state.bin"))],
        ["turn saved", (sequence) => turns.save("c", sequence)],
        ["two turns saved", (sequence) => Promise.all([turns.save("c", sequence), turns.save("c", sequence)])],
        ["turn saved, and evaluated", (sequence) => Promise.all([turns.save("c", sequence), sequence.evaluateWithoutGeneratingNewTokens(moreTokens(5, 2))])]
    ];
    for (const [what, work] of before) {
        const pairs = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const);
        for (const [sequence] of pairs) await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
        await parked(1);
        await remove(() => true);
        const used = meter(pairs[0]![0]);
        for (const [sequence, other] of pairs) await work(sequence, other);
        t.equal(meter(pairs[0]![0]) - used, pairs[0]![0].nextTokenIndex, `${what}: all is evaluated`);
        const [here, there] = await Promise.all(pairs.map(async ([sequence, other]) => await goOn(other.nextTokenIndex > 0 ? other : sequence, 3)));
        sameLogits(t, here!, there!, what);
        for (const pair of pairs) for (const one of pair) await one.dispose();
        await turns.delete("c");
        await settled(30);
        events.length = 0;
    }
});

t.test("lost rows that find no room leave the sequence empty, to be evaluated later", async (t) => {
    const limit = 3 * 2 ** 20, {folder, store, context, parked} = await open(t, {contextSize: 4096, policy: {pool: {limit}}});
    const sequence = context.getSequence(), other = context.getSequence(), text = randomTokens(1700, 1), lmdb = await LmdbStore.open(folder);
    t.teardown(() => lmdb.close());
    await sequence.evaluateWithoutGeneratingNewTokens(text);
    await parked(1);
    for await (const {name} of lmdb.inventory()) await lmdb.step({release: [name]});
    const generating = generate(other, randomTokens(2000, 2), 400);
    while (other.nextTokenIndex < 2000) await new Promise(setImmediate);
    t.equal(await codeOf(sequence.evaluateWithoutGeneratingNewTokens(moreTokens(5, 3))), "POOL_LIMIT_REACHED");
    t.equal(sequence.nextTokenIndex, 0);
    t.strictSame(store.stats(context).sequences.map(({id}) => id), [1], "no rows are there that nobody knows of");
    await generating;
    await parked(1);
    await sequence.evaluateWithoutGeneratingNewTokens([...text, ...moreTokens(5, 3)]);
    t.equal((await generate(sequence, moreTokens(5, 4), 3)).length, 3);
});
