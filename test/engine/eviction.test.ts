import {join} from "node:path";
import {DeltaStoreError, type EvictOptions} from "llama-deltastore";
import {LlamaChatSession, type LlamaContextSequence, type LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, nativeBinding, randomTokens, rejection} from "../support/engine.js";
import {f16ModelPath} from "../support/f16-model.js";
import {divergences, logitsOf, nextLogits} from "../support/logits.js";
import {loadTiny, openTiny} from "../support/tiny-engine.js";

t.setTimeout(180_000);

const {llama, store, model} = await openTiny(t, {
    tiers: {
        half: {format: "k4v2", evict: {keep: 0.5, schedule: "shared", slack: 64}},
        early: {format: "k4v4", evict: {keep: 0.3, schedule: "preserveEarly", scorer: "h2o", slack: 64}},
        snap: {format: "f16", evict: {keep: 0.4, schedule: "adaptive", scorer: "snapkv", slack: 64}},
        oldest: {format: "k4v2", window: 0, sinks: 0, evict: {keep: 0.25, schedule: "uniform", scorer: "recency", slack: 64}}
    }
});
const tiers = ["half", "early", "snap", "oldest"];
const native = await nativeBinding();

const createContext = (kvCache: string, options: object = {}, of: LlamaModel = model) =>
    of.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache, ...options});

const keptOf = (sequence: LlamaContextSequence) => store.stats(sequence.context).sequences[0]!.kept;

for (const tier of tiers) {
    t.test(`${tier}: rows go when the prompt is evaluated and as the answer grows, and the sequence goes on`, async (t) => {
        const sequence = (await createContext(tier)).getSequence();
        const prompt = randomTokens(700, 1);
        await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, 500));
        t.equal(keptOf(sequence), 1, "not before a token is asked for");
        await nextLogits(sequence, prompt.slice(500));
        const after = keptOf(sequence);
        t.ok(after < 0.85, `${after} of the rows stay`);
        t.match(store.stats(sequence.context), {tokens: 700, sequences: [{tokens: 700}]});

        await generate(sequence, randomTokens(1, 2), 30);
        t.ok(keptOf(sequence) > after, "the answer's rows are all there");
        await generate(sequence, randomTokens(1, 3), 50);
        t.ok(keptOf(sequence) < after + 0.05, "until the slack is full");
        t.equal(store.stats(sequence.context).tokens, sequence.nextTokenIndex);
    });

    t.test(`${tier}: the results do not depend on the number of threads`, async (t) => {
        const all: Float32Array[] = [];
        for (const threads of [1, 2]) {
            const sequence = (await createContext(tier, {threads})).getSequence();
            await nextLogits(sequence, randomTokens(600, 4));
            all.push(await nextLogits(sequence, randomTokens(90, 5)));
        }
        t.strictSame(all[1], all[0]);
    });

    // Without a window, later rows are packed about the mean of the context's own keys. A fresh context has another mean.
    if (tier !== "oldest") t.test(`${tier}: a saved state has what was kept, and goes on with the same bits`, async (t) => {
        const path = join(t.testdir(), "state.bin");
        const sequence = (await createContext(tier)).getSequence();
        await nextLogits(sequence, randomTokens(600, 6));
        const kept = keptOf(sequence);
        await sequence.saveStateToFile(path);
        const other = (await createContext(tier)).getSequence();
        await other.loadStateFromFile(path, {acceptRisk: true});
        t.equal(keptOf(other), kept);
        t.equal(store.stats(other.context).tokens, 600);
        t.strictSame(await nextLogits(other, randomTokens(9, 7)), await nextLogits(sequence, randomTokens(9, 7)));
    });

    t.test(`${tier}: the sequence goes on after a rewind to an evicted row, and after a context shift`, async (t) => {
        const sequence = (await createContext(tier)).getSequence();
        const prompt = randomTokens(600, 8);
        await nextLogits(sequence, prompt);
        await sequence.eraseContextTokenRanges([{start: 350, end: 600}]);
        t.equal(store.stats(sequence.context).tokens, 350);
        t.ok((await nextLogits(sequence, randomTokens(200, 9))).every(Number.isFinite));
        await sequence.eraseContextTokenRanges([{start: 20, end: 120}]);
        t.equal(sequence.nextTokenIndex, 450);
        t.ok((await nextLogits(sequence, randomTokens(200, 10))).every(Number.isFinite));
        t.equal(store.stats(sequence.context).tokens, 650);
        await sequence.clearHistory();
        t.equal(store.stats(sequence.context).tokens, 0);
        t.ok((await nextLogits(sequence, prompt)).every(Number.isFinite));
    });
}

t.test("what stays gives nearly the same distributions", async (t) => {
    const real = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
    const text = real.tokenize("The lighthouse on the northern cliff was built of grey stone. Its keeper wrote down every ship that passed. ".repeat(40));
    const rows: Float32Array[][] = [];
    for (const tier of ["stock", "recommended", "aggressive", "oldest"]) {
        const context = await createContext(tier, {}, real);
        await logitsOf(native, context, text.slice(0, 512), {from: 511});
        rows.push(await logitsOf(native, context, text.slice(512, 620), {position: 512, batches: [8]}));
    }
    const [recommended, aggressive, oldest] = rows.slice(1).map((found) => divergences(rows[0]!, found).mean);
    t.ok(recommended! < 0.1, `recommended ${recommended}`);
    t.ok(aggressive! < 0.1, `aggressive ${aggressive}`);
    t.ok(oldest! > 2 * aggressive!, `the baseline ${oldest}`);
});

t.test("a chat of several turns goes on while rows are evicted", async (t) => {
    const sequence = (await createContext("half", {contextSize: 512})).getSequence();
    const session = new LlamaChatSession({contextSequence: sequence});
    for (let turn = 0; turn < 6; turn++) {
        const answer = await session.prompt(`${"word ".repeat(40)}${turn}`, {maxTokens: 60, temperature: 0});
        t.type(answer, "string");
        t.equal(store.stats(sequence.context).tokens, sequence.nextTokenIndex);
    }
    t.ok(keptOf(sequence) < 1);
});

t.test("evict() keeps the share that it is asked for, also while others generate", async (t) => {
    const context = await createContext("conservative", {sequences: 2});
    const [sequence, other] = [context.getSequence(), context.getSequence()];
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(600, 11));
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(300, 12));
    await store.evict(sequence, {keep: 0.5, scorer: "recency", schedule: "uniform"});
    t.match(store.stats(context).sequences.map(({tokens, kept}) => [tokens, Math.round(kept * 100)]), [[600, 50], [300, 100]]);
    const busy = generate(other, randomTokens(1, 13), 20);
    await Promise.all([store.evict(sequence, {keep: 0.3, scorer: "recency"}), store.evict(other, {keep: 0.9, scorer: "recency"}), busy]);
    t.equal(Math.round(keptOf(sequence) * 100), 30);
    const [meanwhile] = await Promise.allSettled([store.evict(sequence, {keep: 0.1, scorer: "recency"}), context.dispose()]);
    if (meanwhile.status === "rejected") t.match(meanwhile.reason, {code: "DISPOSED"});

    const watched = (await createContext("half")).getSequence();
    await watched.evaluateWithoutGeneratingNewTokens(randomTokens(500, 14));
    await store.evict(watched);
    t.equal(Math.round(keptOf(watched) * 100), 50);
    await store.evict(watched, {keep: 0});
    t.ok(keptOf(watched) < 0.3, "sinks and window stay");
    await store.evict((await createContext("half")).getSequence(), {keep: 0.5});
});

t.test("evict() refuses wrong options, and contexts that it has no part in", async (t) => {
    const context = await createContext("conservative");
    const sequence = context.getSequence();
    const mistakes: [unknown, RegExp][] = [
        [{}, /"conservative" doesn't say how much to keep.*0 to 1/],
        [{keep: 1.5, scorer: "recency"}, /keep is 1.5.*0 to 1/],
        [{keep: "half"}, /keep is "half"/],
        [{keep: 0.5, schedule: "unifrom"}, /schedule is "unifrom".*"shared".*did you mean "uniform"/],
        [{keep: 0.5, scorer: 4}, /scorer is 4.*"attention"/],
        [{keep: 0.5}, /"attention".*"conservative" does not watch.*"recency"/],
        [{kep: 0.5}, /no option "kep".*did you mean "keep"/],
        [null, /null/],
        [[], /\[\]; .*"keep", "schedule" and "scorer"/],
        [5n, /5n/]
    ];
    for (const [options, message] of mistakes) {
        const error = await rejection(store.evict(sequence, options as EvictOptions));
        t.type(error, DeltaStoreError);
        t.match(error, {code: "OPTION_INVALID", message});
    }
    const half = (await createContext("half")).getSequence();
    t.match(await rejection(store.evict(half, {scorer: "snapkv"})), {code: "OPTION_INVALID", message: /"attention", "h2o" and "recency"/});
    t.equal(await codeOf(store.evict((await createContext("stock")).getSequence(), {keep: 1})), "OPTION_INVALID");
    t.equal(await codeOf(store.evict({} as LlamaContextSequence)), "OPTION_INVALID");
    await sequence.dispose();
    t.equal(await codeOf(store.evict(sequence, {keep: 0.5, scorer: "recency"})), "DISPOSED");
});

t.test("models whose attention needs every row's position are refused", async (t) => {
    const alibi = await loadTiny(llama, "bloom-alibi");
    t.match(await rejection(createContext("half", {}, alibi)), {code: "MODEL_UNSUPPORTED", message: /ALiBi/});
    const high = await createContext("high", {}, alibi);
    t.ok(store.isPacked(high));
    t.match(await rejection(store.evict(high.getSequence(), {keep: 0.5, scorer: "recency"})), {code: "MODEL_UNSUPPORTED", message: /ALiBi/});
});
