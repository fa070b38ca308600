import {randomUUID} from "node:crypto";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {attach, MemoryStore} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, divergence, openLlama, randomTokens} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {moreTokens, nextLogits, sameLogits, settled} from "../support/turns.js";

t.setTimeout(180_000);

const {withContextLock} = await import(dist("runtime/context-lock.js")) as typeof import("../../dist/runtime/context-lock.js");
const llama = await openLlama();
const store = await attach(llama, {policy: {sharing: {scope: "group"}, tiers: {evicting: {format: "k4v2", evict: {keep: 0.6, slack: 128}}}}});
const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0});
t.teardown(() => llama.dispose());

const folder = mkdtempSync(join(tmpdir(), "deltastore-lives-"));
t.teardown(() => rmSync(folder, {recursive: true}));
const createContext = (kvCache: string, options: object = {}) =>
    model.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache, batchSize: 128, ...options});

/** Keeps the context's lock, as a batch does, until it is let go. */
async function holdLock(context: LlamaContext): Promise<() => Promise<void>> {
    let letGo!: () => void, locked!: Promise<void>;
    const held = new Promise<void>((resolve) => letGo = resolve);
    await new Promise<void>((resolve) => {
        locked = withContextLock(context, () => {
            resolve();
            return held;
        });
    });
    return async () => {
        letGo();
        await locked;
    };
}

/** Whatever waits for its turn with a sequence. */
const waiting: Record<string, (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>> = {
    evaluateWithoutGeneratingNewTokens: (sequence) => sequence.evaluateWithoutGeneratingNewTokens(moreTokens(200, 3)),
    evaluate: async (sequence) => {
        let count = 0;
        for await (const _ of sequence.evaluate(moreTokens(80, 4))) if (++count === 3) break;
    },
    controlledEvaluate: (sequence) => nextLogits(sequence, moreTokens(150, 5)),
    eraseContextTokenRanges: (sequence) => sequence.eraseContextTokenRanges([{start: 5, end: 20}]),
    clearHistory: (sequence) => sequence.clearHistory(),
    adaptStateToTokens: (sequence) => sequence.adaptStateToTokens(randomTokens(40, 1)),
    saveStateToFile: (sequence) => sequence.saveStateToFile(join(folder, "late.state")),
    loadStateFromFile: (sequence) => sequence.loadStateFromFile(join(folder, "good.state"), {acceptRisk: true}),
    setTier: (sequence) => store.setTier(sequence, "conservative"),
    evict: (sequence) => store.evict(sequence, {keep: 0.5, scorer: "recency"}),
    "fork from it": (sequence, other) => store.fork(sequence, other),
    "fork to it": (sequence, other) => store.fork(other, sequence),
    save: async (sequence) => (await store.openTurns({store: new MemoryStore()})).save("late", sequence),
    restore: async (sequence) => {
        const turns = await store.openTurns({store: kept});
        return await turns.restore("good", sequence);
    }
};
const kept = new MemoryStore();

t.test("what waits for its turn with a sequence that is disposed does nothing to the next one of its number", async (t) => {
    const source = await createContext("high"), first = source.getSequence();
    await first.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    await first.saveStateToFile(join(folder, "good.state"));
    await (await store.openTurns({store: kept})).save("good", first);
    await source.dispose();
    const open = async () => {
        const context = await createContext("high", {sequences: 2}), other = context.getSequence(), sequence = context.getSequence();
        await other.evaluateWithoutGeneratingNewTokens(randomTokens(120, 6));
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(130, 7));
        return {context, other, sequence};
    };
    const twin = await open();
    await twin.sequence.dispose();
    const expected = await nextLogits(twin.context.getSequence(), randomTokens(150, 9));
    await twin.context.dispose();
    for (const [name, work] of Object.entries(waiting)) {
        for (const order of ["before", "behind"] as const) {
            const {context, other, sequence} = await open();
            const letGo = await holdLock(context), late = order === "before" ? codeOf(work(sequence, other)) : null;
            const ended = sequence.dispose(), behind = late ?? codeOf(work(sequence, other));
            t.equal(context.sequencesLeft, 0, "its number is not free while a batch is computed");
            await letGo();
            await ended;
            const next = context.getSequence();
            sameLogits(t, [await nextLogits(next, randomTokens(150, 9))], [expected], `${name} ${order} the disposal`);
            const code = await behind;
            await settled(5);
            t.match(code, order === "before" ? /^(fulfilled|DISPOSED|Object is disposed)$/ : /^(DISPOSED|Object is disposed)$/, `${name}: ${code}`);
            t.equal(next.nextTokenIndex, 150);
            t.strictSame(store.stats(context).sequences.map(({id, tokens}) => [id, tokens]).sort(), [[0, other.nextTokenIndex], [1, 150]]);
            t.equal(store.tierOf(next), "high");
            await context.dispose();
        }
    }
});

t.test("a request that is given up costs nobody else anything", async (t) => {
    for (const policy of [{}, {sharing: {automatic: false}}]) {
        const shared = await attach(llama, {policy}), begin = randomTokens(300, 20), alone = await createContext("exact");
        const expected = await nextLogits(alone.getSequence(), randomTokens(90, 22));
        await alone.dispose();
        const context = await createContext("exact", {sequences: 3}), outcomes = new Set<string>();
        for (let round = 0; round < 24; round++) {
            const [talking, given] = [context.getSequence(), context.getSequence()];
            const answer = codeOf((async () => {
                let count = 0;
                for await (const _ of talking.evaluate([...begin, ...moreTokens(round, 30)], {yieldEogToken: true})) if (++count === 40) break;
            })());
            await settled(round % 5);
            const going = codeOf(given.evaluateWithoutGeneratingNewTokens([...begin, ...moreTokens(200, 40 + round)]));
            await settled(round % 4);
            await given.dispose();
            const next = context.getSequence();
            const found = divergence(expected, await nextLogits(next, randomTokens(90, 22)));  // batches with others round otherwise
            t.ok(found < 1e-4, `the next request: ${found}`);
            outcomes.add(await going);
            t.equal(await answer, "fulfilled");
            await Promise.all([talking.dispose(), next.dispose()]);
        }
        t.ok([...outcomes].every((code) => ["fulfilled", "Object is disposed"].includes(code)), [...outcomes].join());
        t.ok(outcomes.has("Object is disposed"), "some were given up");
        await context.dispose();
        shared.dispose();
    }
    await attach(llama, {policy: {sharing: {scope: "group"}}});
});

t.test("a prompt that is given up is attached to nobody else's", async (t) => {
    const tenants = await attach(llama, {policy: {sharing: {scope: "group", kept: 0}}}), attached: number[] = [];
    tenants.onEvent.createListener((event) => {
        if (event.type === "attach") attached.push(event.tokens);
    });
    const context = await createContext("exact", {sequences: 4});
    for (let round = 0; round < 24; round++) {
        const secret = randomTokens(300, 100 + round), talking = context.getSequence({sharingGroup: "a"});
        const answer = (async () => {
            let count = 0;
            for await (const _ of talking.evaluate(randomTokens(20, 60), {yieldEogToken: true})) if (++count === 30) break;
        })();
        await settled(2);
        const given = context.getSequence({sharingGroup: "b"}), going = codeOf(given.evaluateWithoutGeneratingNewTokens(secret));
        await settled(round % 4);
        await given.dispose();
        const [first, second] = [context.getSequence({sharingGroup: "c"}), context.getSequence({sharingGroup: "c"})];
        await second.evaluateWithoutGeneratingNewTokens([...secret, ...moreTokens(40, 61)]);
        await Promise.all([going, answer]);
        await Promise.all([talking, first, second].map((one) => one.dispose()));
    }
    t.strictSame(attached, []);
    await context.dispose();
    await attach(llama, {policy: {sharing: {scope: "group"}}});
});

/** Each on stock's cache, too, which says what is right. */
const idioms: Record<string, (context: LlamaContext) => Promise<unknown>> = {
    "a sequence is disposed of without waiting, and the next one asked for": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20, 1));
        void sequence.dispose();
        const left = context.sequencesLeft, next = context.getSequence();
        await next.evaluateWithoutGeneratingNewTokens(randomTokens(30, 2));
        return [left, next.nextTokenIndex, next.contextTokens.length];
    },
    "each request has a sequence by `using`": async (context) => {
        const lengths: number[] = [];
        for (let request = 0; request < 3; request++) {
            const sequence = context.getSequence();
            await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20 + request, request));
            lengths.push(sequence.nextTokenIndex);
            sequence[Symbol.dispose]();
        }
        return lengths;
    },
    "an erased sequence is asked for its length": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(40, 1));
        const erasing = sequence.eraseContextTokenRanges([{start: 4, end: 7}, {start: 30, end: 40}]), atOnce = [sequence.nextTokenIndex, sequence.contextTokens.length];
        await erasing;
        const clearing = sequence.clearHistory(), cleared = sequence.nextTokenIndex;
        await clearing;
        return [atOnce, cleared, sequence.nextTokenIndex];
    },
    "a sequence is disposed of in the middle of an answer": async (context) => {
        const sequence = context.getSequence();
        let count = 0;
        const code = await codeOf((async () => {
            for await (const _ of sequence.evaluate(randomTokens(20, 1), {yieldEogToken: true})) if (++count === 3) await sequence.dispose();
        })());
        return [code, count, context.sequencesLeft, sequence.disposed];
    },
    "a number can be had once what was given up has settled": async (context) => {
        const sequences = [context.getSequence(), context.getSequence()];
        const going = sequences.map((sequence, at) => codeOf(sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, at))));
        await settled(2);
        const ended = sequences.map((sequence) => sequence.dispose());
        await Promise.all(going);
        const left = context.sequencesLeft, next = context.getSequence();
        await Promise.all(ended);
        return [left, next.nextTokenIndex];
    },
    "a sequence is cleared and disposed of while another is evaluated": async (context) => {
        const [sequence, other] = [context.getSequence(), context.getSequence()];
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(40, 1));
        const busy = codeOf(other.evaluateWithoutGeneratingNewTokens(randomTokens(600, 2)));
        await settled(3);
        const codes = [codeOf(sequence.clearHistory()), codeOf(sequence.eraseContextTokenRanges([{start: 3, end: 5}])), codeOf(sequence.dispose())];
        return await Promise.all([...codes, busy]);
    },
    "a state file is loaded, and more is evaluated at once": async (context) => {
        const sequence = context.getSequence(), file = join(folder, `${randomUUID()}.state`);
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(140, 1));
        await sequence.saveStateToFile(file);
        const loading = sequence.loadStateFromFile(file, {acceptRisk: true});
        await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(20, 2));
        await loading;
        return sequence.nextTokenIndex;
    },
    "a disposed sequence is asked for more": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20, 1));
        await sequence.dispose();
        return await Promise.all([
            codeOf(sequence.evaluateWithoutGeneratingNewTokens(randomTokens(5, 2))), codeOf(sequence.clearHistory()),
            codeOf(sequence.saveStateToFile(join(folder, "gone.state"))), codeOf(sequence.dispose())
        ]);
    },
    "all are taken, given back in another order and taken again": async (context) => {
        const all = Array.from({length: 2}, () => context.getSequence()), taken = await codeOf((async () => context.getSequence())());
        for (const sequence of [...all].reverse()) void sequence.dispose();
        await settled(5);
        return [taken, context.sequencesLeft, [context.getSequence(), context.getSequence()].map(({nextTokenIndex}) => nextTokenIndex)];
    },
    "a context is disposed of in the middle of an answer": async (context) => {
        const sequence = context.getSequence();
        const code = await codeOf((async () => {
            for await (const _ of sequence.evaluate(randomTokens(20, 1), {yieldEogToken: true})) void context.dispose();
        })());
        return [code, sequence.disposed];
    }
};

for (const [name, idiom] of Object.entries(idioms)) {
    t.test(`as stock: ${name}`, async (t) => {
        const outcomes: Record<string, unknown> = {};
        for (const kvCache of ["stock", "exact", "high", "evicting"]) {
            const policy = kvCache === "evicting" ? {tiers: {evicting: {format: "k4v2" as const, evict: {keep: 0.6, slack: 128}}}} : {};
            await attach(llama, {policy});
            const context = await createContext(kvCache, {sequences: 2});
            outcomes[kvCache] = await idiom(context);
            await context.dispose();
        }
        const {stock, ...ours} = outcomes;
        for (const [kvCache, outcome] of Object.entries(ours)) t.strictSame(outcome, stock, kvCache);
    });
}

t.test("a turn is captured before a disposal that is asked for later, while another sequence is evaluated", async (t) => {
    const shared = await attach(llama);
    for (const end of ["sequence", "context", "model"] as const) {
        const own = end === "model" ? await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0}) : model;
        const context = await own.createContext({contextSize: 2048, sequences: 2, threads: 1, flashAttention: true, batchSize: 128});
        const [sequence, other] = [context.getSequence(), context.getSequence()], turns = await shared.openTurns({store: new MemoryStore()});
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, 1));
        await turns.save("before", sequence);
        const busy = codeOf(other.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 2)));
        await settled(20);
        const saving = turns.save("chat", sequence), ended = {sequence, context, model: own}[end].dispose();
        t.match(await saving, {tokens: 200}, end);
        await ended;
        await busy;
        await context.dispose();
    }
});

t.test("what throws at once fails neither its neighbours nor the batch", async (t) => {
    const {BetweenBatches} = await import(dist("runtime/between-batches.js")) as typeof import("../../dist/runtime/between-batches.js"), between = new BetweenBatches();
    let letGo!: () => void;
    const locked = async (work: () => Promise<void>) => {
        await new Promise<void>((resolve) => letGo = resolve);
        await work();
    };
    const first = between.run(locked, () => { throw new Error("at once"); }), second = between.run(locked, () => Promise.resolve("well"));
    letGo();
    t.equal(await codeOf(first), "at once");
    t.equal(await second, "well");
});

t.test("a sequence that nobody holds gives its number back", async (t) => {
    const context = await createContext("high", {sequences: 1});
    await (async () => await context.getSequence().evaluateWithoutGeneratingNewTokens(randomTokens(100, 1)))();
    const {setFlagsFromString} = await import("node:v8"), {runInNewContext} = await import("node:vm");
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    for (let waited = 0; context.sequencesLeft === 0 && waited < 100; waited++) {
        collect();
        await settled(20);
    }
    const next = context.getSequence(), fresh = await createContext("high");
    sameLogits(t, [await nextLogits(next, randomTokens(50, 2))], [await nextLogits(fresh.getSequence(), randomTokens(50, 2))]);
    for (const one of [context, fresh]) await one.dispose();
});
