import {spawn} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {attach, LmdbStore, MemoryStore, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, divergence, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {openParking, type ParkingOptions} from "../support/parking.js";
import {root} from "../support/paths.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {goOn, isWell, moreTokens, nextLogits, sameLogits, settled, storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const llama = await openLlama();
const modelPath = await tinyModelPath(tinyModel("llama-head-128"));
const model = await llama.loadModel({modelPath, gpuLayers: 0});
t.teardown(() => llama.dispose());

const prompt = randomTokens(400, 1);
const open = (t: Test, options: ParkingOptions = {}) => openParking(t, llama, model, options);

type Pair = readonly [LlamaContextSequence, LlamaContextSequence];
const typesOf = (events: readonly StoreEvent[]) => events.map(({type}) => type);

for (const [name, options] of Object.entries<ParkingOptions>({
    "exact": {kvCache: "exact"}, "high": {}, "conservative": {kvCache: "conservative"}, "evicting": {kvCache: "evicting"},
    "shared": {policy: {sharing: {automatic: true}}}, "ruled": {policy: {rules: [{tokens: 300, tier: "conservative"}]}}
})) {
    t.test(`${name}: an idle sequence leaves memory, and goes on as one that never did`, async (t) => {
        const {store, context, twins, events, parked, held, turns} = await open(t, options);
        const [[sequence, few], [twin, twinOfFew]] = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const) as [Pair, Pair];
        for (const one of [sequence, twin]) await nextLogits(one, prompt);
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
        t.strictSame(await generate(sequence, moreTokens(5, 7), 20), await generate(twin, moreTokens(5, 7), 20));
        await settled();
        t.match(await turns.verify(), {conversations: 0, objects: 0}, "and leaves nothing in the store");
    });
}

t.test("whatever is done to a parked sequence is done to what it holds", async (t) => {
    const {store, context, twins, events, parked, turns} = await open(t, {sequences: 2, kvCache: "conservative"});
    const both = async (name: string, work: (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>, away = 1) => {
        const pairs = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const);
        for (const [first, second] of pairs) {
            await nextLogits(first, prompt);
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
        return store;  // the twins' is another, but works on their packed context just as well
    }
});

t.test("a parked sequence that is disposed leaves nothing, and its number's next one begins anew", async (t) => {
    const {context, parked, held, turns} = await open(t, {sequences: 2});
    const first = context.getSequence(), second = context.getSequence();
    for (const one of [first, second]) await one.evaluateWithoutGeneratingNewTokens(prompt);
    await parked(2);
    t.strictSame(held(), []);
    t.match(await turns.verify(), {conversations: 2, problems: []});
    first.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 1, problems: []});
    const heir = context.getSequence();
    t.strictSame(heir.contextTokens, []);
    t.equal((await generate(heir, randomTokens(30, 3), 3)).length, 3);
    // While it comes back.
    const going = codeOf(second.evaluateWithoutGeneratingNewTokens(moreTokens(5, 1)));
    second.dispose();
    t.match(await going, /fulfilled|DISPOSED|disposed/i);
    await settled(100);
    t.strictSame(held(), [0]);
    await context.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
});

t.test("a parked sequence that is saved and at once disposed of is saved", async (t) => {
    for (const end of ["sequence", "context"] as const) {
        const {context, store, parked} = await open(t, {kvCache: "high"}), sequence = context.getSequence(), kept = await store.openTurns({store: new MemoryStore()});
        await sequence.evaluateWithoutGeneratingNewTokens(prompt);
        await parked(1);
        const saving = kept.save("chat", sequence), ended = (end === "sequence" ? sequence : context).dispose();
        t.match(await saving, {tokens: prompt.length}, end);
        await ended;
        await kept.close();
    }
});

t.test("a context that is disposed leaves nothing in the store", async (t) => {
    const {context, parked, turns} = await open(t);
    await context.getSequence().evaluateWithoutGeneratingNewTokens(prompt);
    await parked(1);
    await context.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
});

t.test("what does not come back is evaluated again", async (t) => {
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
            for (const one of [sequence, twin]) await one.evaluateWithoutGeneratingNewTokens(prompt);
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

    // So it is before what can't evaluate by itself.
    const before: [string, (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>][] = [
        ["forked", (sequence, other) => store.fork(sequence, other)], ["evicted", (sequence) => store.evict(sequence, {keep: 0.5, scorer: "recency"})],
        ["given a tier", (sequence) => store.setTier(sequence, "exact")], ["state saved", (sequence) => sequence.saveStateToFile(join(t.testdir(), "state.bin"))],
        ["turn saved", (sequence) => turns.save("c", sequence)],
        ["two turns saved", (sequence) => Promise.all([turns.save("c", sequence), turns.save("c", sequence)])],
        ["turn saved, and evaluated", (sequence) => Promise.all([turns.save("c", sequence), sequence.evaluateWithoutGeneratingNewTokens(moreTokens(5, 2))])]
    ];
    for (const [what, work] of before) {
        const pairs = [context, twins].map((one) => [one.getSequence(), one.getSequence()] as const);
        for (const [sequence] of pairs) await sequence.evaluateWithoutGeneratingNewTokens(prompt);
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
    // At once they don't fit, and those that are refused stay parked, or as they were.
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

    // A fork gives up neither its source nor half of it.
    const [[source], [target]] = pairs as unknown as [[LlamaContextSequence], [LlamaContextSequence]];
    await store.fork(source, target);
    t.strictSame(target.contextTokens, source.contextTokens);
    const rows = store.stats(context).sequences;
    t.strictSame([0, 1].map((number) => rows.find(({id}) => id === number)?.tokens), [source.nextTokenIndex, source.nextTokenIndex]);
});

t.test("what is lost and finds no room is to be evaluated later", async (t) => {
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

t.test("a store that fails parks nobody, and nothing else happens", async (t) => {
    const broken = await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: join(root, "package.json", "no-folder"), park: 0.1}}});
    const other = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"}), sequence = other.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await settled(500);
    t.match(broken.stats(other).sequences, [{tokens: 400}]);
    t.equal((await generate(sequence, moreTokens(5, 1), 3)).length, 3);
    await other.dispose();
});

t.test("a sequence that changes while it is being stored stays, as it is then", async (t) => {
    const {context, twins, events, parked} = await open(t, {kvCache: "exact"}), step = LmdbStore.prototype.step;
    const [sequence, twin] = [context, twins].map((one) => one.getSequence()) as [LlamaContextSequence, LlamaContextSequence];
    for (const one of [sequence, twin]) await nextLogits(one, prompt);
    let changed = 0;
    LmdbStore.prototype.step = async function (given) {
        if (given.put !== undefined && changed++ === 0) await sequence.eraseContextTokenRanges([{start: 350, end: 400}]);
        return await step.call(this, given);
    };
    t.teardown(() => { LmdbStore.prototype.step = step; });
    await twin.eraseContextTokenRanges([{start: 350, end: 400}]);
    await parked(1);
    t.ok(changed > 1, "the first was in vain");
    t.match(events.filter(({type}) => type === "park"), [{tokens: 350}]);
    sameLogits(t, await goOn(sequence, 1), await goOn(twin, 1));

    // As an erasure that waited for the same gap would.
    await parked(1);
    const internals = sequence as unknown as {_contextTokens: number[]; _nextTokenIndex: number}, left = sequence.nextTokenIndex - 30;
    internals._contextTokens = internals._contextTokens.slice(0, left);
    internals._nextTokenIndex = left;
    await twin.eraseContextTokenRanges([{start: left, end: left + 30}]);
    sameLogits(t, await goOn(sequence, 5), await goOn(twin, 5));
});

t.test("a store that does not answer for a while loses nothing", {skip: noRedis}, async (t) => {
    const redis = await startRedis();
    t.teardown(() => redis.stop());
    const store = await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: redis.url, park: 0.2}}});
    const options = {contextSize: 1024, sequences: 2, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"};
    const context = await model.createContext(options), [sequence, other] = [context.getSequence(), context.getSequence()];
    await attach(llama, {policy: {sharing: {automatic: false}}});
    const twin = (await model.createContext(options)).getSequence();
    for (const one of [sequence, twin]) await nextLogits(one, prompt);
    const isParked = () => store.stats(context).sequences.length === 0;
    for (let waited = 0; waited < 5000 && !isParked(); waited += 20) await settled(20);
    t.ok(isParked());
    redis.signal("SIGSTOP");
    t.equal(await codeOf(store.fork(sequence, other)), "STORE_FAILED");
    t.equal(sequence.nextTokenIndex, 400);
    redis.signal("SIGCONT");
    sameLogits(t, await goOn(sequence, 1), await goOn(twin, 1));
    for (const one of [context, twin.context]) await one.dispose();

    const child = spawn(process.execPath, [join(root, "test/fixtures/parks.mjs"), JSON.stringify({modelPath, folder: redis.url, tokens: randomTokens(300, 8), ends: true})], {
        stdio: ["ignore", "pipe", "inherit"]
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    t.strictSame(await once(child, "close"), [0, null], "and a process that parked ends");
    clearTimeout(timer);
});

t.test("parked rows push no saved conversation out", async (t) => {
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

t.test("what processes that ended have parked is collected, and of those that run it is not", async (t) => {
    const {folder, context, parked, turns} = await open(t), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await parked(1);
    const child = spawn(process.execPath, [join(root, "test/fixtures/parks.mjs"), JSON.stringify({modelPath, folder, tokens: randomTokens(300, 8)})], {
        stdio: ["ignore", "pipe", "inherit"]
    });
    for await (const text of child.stdout) if (String(text).includes("park")) break;
    t.match(await turns.collectGarbage(), {conversations: 0});
    t.match(await turns.verify(), {conversations: 2, problems: []});
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
    t.match(await turns.collectGarbage(), {conversations: 1});
    t.match(await turns.verify(), {conversations: 1, problems: []});
    // Collected before, it would have taken along what it had parked.
    t.equal(sequence.contextTokens.length, prompt.length);
});
