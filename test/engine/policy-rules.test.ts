import {attach, type DeltaStoreError, type PolicyFile, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(120_000);

const llama = await openLlama();
const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0});
const alibi = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("bloom-alibi")), gpuLayers: 0});
t.teardown(() => llama.dispose());

async function open(policy: PolicyFile, options: object = {}) {
    const store = await attach(llama, {policy: {sharing: {automatic: false}, ...policy}}), events: StoreEvent[] = [];
    store.onEvent.createListener((event) => {
        events.push(event);
    });
    const context = await model.createContext({contextSize: 1024, sequences: 12, threads: 1, flashAttention: true, batchSize: 256, ...options});
    const tierOf = (sequence: LlamaContextSequence) => store.tierOf(sequence);
    return {store, context, events, tierOf};
}

t.test("rules give sequences tiers by name and length", async (t) => {
    const policy: PolicyFile = {
        tiers: {half: {format: "k4v2", evict: {keep: 0.5, slack: 128}}},
        rules: [{name: "batch-*", tokens: 300, tier: "half"}, {name: "batch-*", tier: "compact"}, {name: "vip", tier: "exact"}, {tokens: 500, tier: "conservative"}]
    };
    const {store, context, events, tierOf} = await open(policy);
    const batch = context.getSequence({name: "batch-7"}), plain = context.getSequence(), vip = context.getSequence({name: "vip"});
    const chosen = context.getSequence({name: "batch-8", kvCache: "high"}), other = context.getSequence({name: "vips"});
    t.strictSame([batch, plain, vip, chosen, other].map(tierOf), ["compact", "high", "exact", "high", "high"]);
    t.strictSame(events, [], "a sequence's first tier is no change");

    await generate(batch, randomTokens(250, 1), 1);
    t.equal(tierOf(batch), "compact");
    await generate(batch, randomTokens(80, 2).slice(1), 1);
    t.match(events.splice(0), [{type: "tier", sequenceId: 0, tier: "half", before: "compact", reason: "rule"}, {type: "evict", sequenceId: 0}]);
    t.ok(store.stats(context).sequences[0]!.kept < 0.6);
    for (const sequence of [plain, vip, chosen]) await generate(sequence, randomTokens(600, 3), 2);
    t.strictSame([plain, vip, chosen].map(tierOf), ["conservative", "exact", "high"]);
    t.match(events.splice(0), [{type: "tier", sequenceId: 1, reason: "rule"}]);
    t.equal((await generate(plain, randomTokens(10, 4).slice(1), 5)).length, 5);

    await plain.clearHistory();
    await batch.clearHistory();
    t.strictSame([batch, plain].map(tierOf), ["compact", "high"], "an emptied one begins anew");
    await store.setTier(plain, "compact");
    t.match(events.splice(0), [{type: "tier", sequenceId: 1, tier: "compact", before: "high", reason: "call"}]);
    await generate(plain, randomTokens(600, 5), 1);
    await plain.clearHistory();
    t.equal(tierOf(plain), "compact", "what the app chose stays");
    batch.dispose();
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.equal(tierOf(context.getSequence()), "high", "a name goes with its sequence");
    await context.dispose();

    const exact = await open(policy, {kvCache: "exact"});
    const named = exact.context.getSequence({name: "batch-1"});
    await generate(named, randomTokens(600, 6), 1);
    t.equal(exact.tierOf(named), "exact", "a context of an F16 tier heeds only rules with such tiers");
    await exact.context.dispose();
});

t.test("rules that a model can't follow, and names that are none", async (t) => {
    const {store, context} = await open({rules: [{tokens: 500, tier: "recommended"}]});
    const error = await rejection(alibi.createContext({contextSize: 256, threads: 1, flashAttention: true}));
    t.match(error, {code: "MODEL_UNSUPPORTED", message: /ALiBi/});
    for (const name of ["", 5, null]) t.throws(() => context.getSequence({name} as object), {code: "OPTION_INVALID", message: /^name is /});
    t.throws(() => context.getSequence({nmae: "a"} as object), {code: "OPTION_INVALID", message: /did you mean "name"/});
    const sequence = context.getSequence();
    t.equal(store.tierOf(sequence), "high");
    t.throws(() => store.tierOf({} as LlamaContextSequence), {code: "OPTION_INVALID"});
    await context.dispose();
});

const limit = 3 * 2 ** 20;

/** Fills a context with sequences until one is refused; how many it came to. */
async function fill(pressure: object | undefined, kvCache?: string) {
    const opened = await open({default: "high", pool: {limit, ...pressure === undefined ? {} : {pressure: pressure as {tiers: string[]}}}});
    const sequences: LlamaContextSequence[] = [];
    let refused: DeltaStoreError | undefined;
    while (sequences.length < 12 && refused === undefined) {
        const sequence = opened.context.getSequence(kvCache === undefined ? {} : {kvCache} as object);
        await generate(sequence, randomTokens(900, sequences.length), 1).then(() => sequences.push(sequence), (error: unknown) => {
            refused = error as DeltaStoreError;
        });
        if (opened.store.stats(opened.context).peakResidentBytes > limit) throw new Error("more than the limit was held");
    }
    return {...opened, sequences, refused};
}

t.test("idle sequences are degraded before a request is refused", async (t) => {
    const plain = await fill(undefined), pressed = await fill({tiers: ["compact", "ultra"], idle: 0, above: 1});
    t.equal(plain.refused?.code, "POOL_LIMIT_REACHED");
    t.ok(pressed.sequences.length > plain.sequences.length, `${pressed.sequences.length} instead of ${plain.sequences.length}`);
    const changes = pressed.events.filter((event) => event.type === "tier");
    t.ok(changes.every(({reason}) => reason === "pressure"));
    t.strictSame(changes.slice(0, 2).map(({sequenceId, tier}) => [sequenceId, tier]), [[0, "compact"], [0, "ultra"]], "the longest idle one first");
    if (pressed.refused !== undefined) {
        t.equal(pressed.refused.code, "POOL_LIMIT_REACHED");
        t.match(pressed.events.filter(({type}) => type === "refuse"), [{sequenceId: pressed.sequences.length}]);
        t.ok(pressed.sequences.every((sequence) => pressed.tierOf(sequence) === "ultra"), "nothing was left to give up");
    }
    const [first] = pressed.sequences as [LlamaContextSequence];
    t.equal((await generate(first, randomTokens(5, 20).slice(1), 5)).length, 5, "it goes on with what it has");
    await first.clearHistory();
    t.equal(pressed.tierOf(first), "high");
    const chosen = await fill({tiers: ["ultra"], idle: 0}, "high");
    t.equal(chosen.events.filter(({type}) => type === "tier").length, 0, "what the app chose is a promise");
    t.equal(chosen.sequences.length, plain.sequences.length);
    const busy = await fill({tiers: ["ultra"], idle: 3600});
    t.equal(busy.sequences.length, plain.sequences.length, "none is idle");
    for (const {context} of [plain, pressed, chosen, busy]) await context.dispose();
});

t.test("pressure begins before requests are refused", async (t) => {
    const early = await fill({tiers: ["conservative", "ultra"], idle: 0, above: 0.5});
    const {sequenceId, tier} = early.events.find((event) => event.type === "tier")!;
    t.strictSame([sequenceId, tier], [0, "conservative"]);
    const evictions = early.events.filter((event) => event.type === "evict");
    t.ok(evictions.length > 0 && evictions.every(({kept}) => kept < 0.5));
    await early.context.dispose();
});

t.test("many requests at once under pressure are served or refused, and the limit holds", async (t) => {
    const {store, context, events} = await open({pool: {limit, pressure: {tiers: ["ultra"], idle: 0, above: 0.8}}, sharing: {automatic: true}});
    const sequences = Array.from({length: 12}, () => context.getSequence());
    for (let round = 0; round < 3; round++) {
        const outcomes = await Promise.all(sequences.map(async (sequence, index) => {
            const tokens = sequence.nextTokenIndex === 0 ? randomTokens(300, 100 * round + index) : randomTokens(301, 100 * round + index).slice(1);
            return await codeOf(generate(sequence, tokens, 3));
        }));
        t.ok(outcomes.every((code) => code === "fulfilled" || code === "POOL_LIMIT_REACHED"), `${outcomes}`);
        t.ok(store.stats(context).peakResidentBytes <= limit);
        t.equal(events.filter(({type}) => type === "refuse").length, outcomes.filter((code) => code !== "fulfilled").length);
        events.length = 0;
    }
    await context.dispose();
});

t.test("work on a sequence finds its turn while others never pause", async (t) => {
    const {store, context, tierOf} = await open({});
    const busy = context.getSequence(), other = context.getSequence();
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(400, 1));
    let done = false;
    const generating = generate(busy, randomTokens(10, 2), 600).then(() => {
        done = true;
    });
    await store.setTier(other, "compact");
    await store.evict(other, {keep: 0.5, scorer: "recency"});
    t.equal(done, false);
    t.equal(tierOf(other), "compact");
    await generating;
    await context.dispose();
});
