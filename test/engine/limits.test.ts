import {attach, DeltaStoreError, type PolicyFile} from "llama-deltastore";
import type {Llama, LlamaContext, LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(120_000);

const {checkRuntime} = await import(dist("runtime/release.js")) as typeof import("../../dist/runtime/release.js");
const modelPath = await tinyModelPath(tinyModel("llama-head-128"));

async function openModel(policy?: string | PolicyFile) {
    const llama = await openLlama();
    const store = await attach(llama, policy === undefined ? {} : {policy});
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    return {llama, store, model};
}

function createContext(model: LlamaModel, kvCache: string | undefined, options: object = {}): Promise<LlamaContext> {
    return model.createContext({contextSize: 2048, threads: 1, ...(kvCache === undefined ? {} : {kvCache}), ...options});
}

/** A context takes the mean of the first sequence's keys from all keys that it packs, so texts are compared after the same first one. */
async function centre(context: LlamaContext): Promise<void> {
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, 50));
    await sequence.dispose();
}

for (const tier of ["exact", "high", "conservative"]) {
    t.test(`${tier}: the pool's limit stops one sequence and no other`, async (t) => {
        // The small one opens no page while the large one runs (at 132 tokens), so it can't be the one that meets the limit.
        const [small, large] = [randomTokens(100, 51), randomTokens(1900, 52)];
        const options = {sequences: 2, batchSize: 128};
        const free = await openModel(tier);
        const roomy = await createContext(free.model, undefined, options);
        await centre(roomy);
        const expected = await generate(roomy.getSequence(), small, 150);
        await roomy.getSequence().evaluateWithoutGeneratingNewTokens(large);
        const limit = Math.round(0.7 * free.store.stats(roomy).peakResidentBytes);
        await free.llama.dispose();

        const {llama, store, model} = await openModel({default: tier, pool: {limit}, sharing: {automatic: false}});
        t.teardown(() => llama.dispose());
        const context = await createContext(model, undefined, options);
        await centre(context);
        const [greedy, modest] = [context.getSequence(), context.getSequence()];
        const figures: number[] = [];
        const poll = setInterval(() => figures.push(store.stats(context).residentBytes), 2);
        const [error, text] = await Promise.all([
            rejection(greedy.evaluateWithoutGeneratingNewTokens(large)), generate(modest, small, 150)
        ]);
        clearInterval(poll);
        t.match(error, {name: "DeltaStoreError", code: "POOL_LIMIT_REACHED", message: `${limit} bytes`});
        t.strictSame(text, expected, "the other one generates what it would without");
        t.ok(figures.length > 5 && Math.max(...figures) <= limit, "never above the limit", {most: Math.max(...figures), limit});
        t.ok(store.stats(context).peakResidentBytes <= limit);

        t.strictSame(store.stats(context).sequences.map(({tokens}) => tokens), [249], "the failed one holds nothing");
        t.equal(greedy.nextTokenIndex, 0);
        await greedy.evaluateWithoutGeneratingNewTokens(large.slice(0, 200));
        await greedy.eraseContextTokenRanges([{start: 50, end: 200}]);
        t.equal((await generate(greedy, small, 5)).length, 5, "it can be truncated and go on");
        await greedy.clearHistory();
        t.strictSame(await generate(greedy, small, 150), expected, "cleared, it can be used again");
        t.equal((await generate(modest, small.slice(1), 5)).length, 5);
    });
}

t.test("a prompt that meets the limit in its middle leaves what was there before", async (t) => {
    const {llama, store, model} = await openModel({default: "exact", pool: {limit: "3MiB"}});
    t.teardown(() => llama.dispose());
    const context = await createContext(model, undefined, {batchSize: 64});
    const sequence = context.getSequence();
    const start = randomTokens(70, 53);
    const more = randomTokens(8, 54).slice(1);
    await sequence.evaluateWithoutGeneratingNewTokens(start);
    const expected = await generate(sequence, more, 20);
    await sequence.eraseContextTokenRanges([{start: 70, end: 1000}]);

    for (let round = 0; round < 3; round++) {
        t.equal(await codeOf(sequence.evaluateWithoutGeneratingNewTokens(randomTokens(1900, 55))), "POOL_LIMIT_REACHED");
        t.equal(sequence.nextTokenIndex, 70);
        t.strictSame(sequence.contextTokens, start);
        t.match(store.stats(context), {tokens: 70, sequences: [{tokens: 70}]});
        t.strictSame(await generate(sequence, more, 20), expected, "and can go on from there");
        await sequence.eraseContextTokenRanges([{start: 70, end: 1000}]);
    }
});

t.test("a limit without room for a single token is told when the context is created", async (t) => {
    const {llama, model} = await openModel();
    t.teardown(() => llama.dispose());
    const limited = async (limit: number, more: PolicyFile = {}) => await attach(llama, {policy: {...more, pool: {limit}}});
    const told = (error: Error) => Number(/needs at least (\d+) bytes$/.exec(error.message)?.[1]);
    for (const kvCache of ["exact", "high"]) {
        await limited(4096);
        const error = await rejection(createContext(model, kvCache)), least = told(error);
        t.match(error, {name: "DeltaStoreError", code: "POOL_LIMIT_REACHED", message: `limit of 4096 bytes (policy: pool.limit)`});
        t.ok(least > 4096, error.message);

        const store = await limited(least), context = await createContext(model, kvCache), sequence = context.getSequence();
        for (let round = 0; round < 2; round++) t.equal(await codeOf(generate(sequence, randomTokens(100, 1), 1)), "POOL_LIMIT_REACHED");
        t.match(store.stats(context), {tokens: 0, pages: 0});
        await generate(sequence, randomTokens(1, 1), 1).catch(() => undefined);
        t.equal(sequence.nextTokenIndex, 1, "the least that was told holds a token");
        await context.dispose();

        await limited(least - 1);
        const refused = await rejection(kvCache === "exact" ? createContext(model, kvCache)
            : createContext(model, kvCache).then((context) => generate(context.getSequence(), randomTokens(1, 1), 1)));
        t.match(refused, {code: "POOL_LIMIT_REACHED"}, "a byte less does not, unless a sequence gets a smaller tier");
        if (kvCache === "exact") t.equal(told(refused), least);
    }
});

t.test("no other cache takes the place of one whose limit has no room", async (t) => {
    const {llama, model} = await openModel({pool: {limit: 4096}, onUnsupported: "stock"});
    t.teardown(() => llama.dispose());
    for (const options of [{}, {contextSize: "auto"}, {kvCache: "compact"}, {contextSize: {max: 4096}, sequences: 1}])
        t.equal(await codeOf(createContext(model, undefined, options)), "POOL_LIMIT_REACHED", JSON.stringify(options));
    await (await createContext(model, "stock")).dispose();
});

t.test("an error that node-llama-cpp's estimates meet first is logged once", async (t) => {
    const logged: string[] = [];
    const llama = await openLlama((_level, message) => void logged.push(message));
    t.teardown(() => llama.dispose());
    await attach(llama);
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    for (const contextSize of [256, "auto"] as const) {
        logged.length = 0;
        t.equal(await codeOf(model.createContext({contextSize, threads: 1, flashAttention: false})), "FLASH_ATTENTION_REQUIRED");
        await new Promise(setImmediate);
        t.equal(logged.filter((message) => message.includes("flash attention is off")).length, 1, String(contextSize));
    }
});

t.test("wrong options are refused by name, and the model stays usable", async (t) => {
    const {llama, store, model} = await openModel();
    t.teardown(() => llama.dispose());
    const attempts: [object, string, RegExp][] = [
        [{kvCache: "high", flashAttention: false}, "FLASH_ATTENTION_REQUIRED", /flash attention is off/],
        [{flashAttention: false}, "FLASH_ATTENTION_REQUIRED", /flash attention is off/],
        [{kvCache: "high", experimentalKvCacheKeyType: "Q8_0"}, "KV_CACHE_TYPE_CONFLICT", /experimentalKvCacheKeyType.*"Q8_0".*"high"/],
        [{experimentalKvCacheValueType: "Q8_0"}, "KV_CACHE_TYPE_CONFLICT", /experimentalKvCacheValueType.*"high"/],
        [{kvCache: "hihg"}, "TIER_UNKNOWN", /"hihg".*"exact".*"stock".*"high"\?/],
        [{kvCache: "conservatve"}, "TIER_UNKNOWN", /"conservative"\?/],
        [{kvCache: ""}, "TIER_UNKNOWN", /""/],
        [{kvCache: 4}, "OPTION_INVALID", /kvCache is 4; allowed are "exact", "high", .*"ultra" and "stock"/],
        [{kvCache: null}, "OPTION_INVALID", /kvCache is null/]
    ];
    for (const [options, code, message] of attempts) {
        const error = await rejection(model.createContext({contextSize: 256, threads: 1, ...options}));
        t.type(error, DeltaStoreError);
        t.match(error, {code, message}, JSON.stringify(options));
    }
    const context = await model.createContext({contextSize: 256, threads: 1, kvCache: "stock", experimentalKvCacheKeyType: "Q8_0"});
    t.equal((await generate(context.getSequence(), randomTokens(5, 1), 3)).length, 3, "types go with the stock cache");
    t.throws(() => store.stats(context), {code: "OPTION_INVALID"});
    t.equal(await codeOf(attach(llama, {onUnsupported: "maybe" as "stock"})), "OPTION_INVALID");
    t.equal(await codeOf(attach(llama, {policy: "hihg"})), "TIER_UNKNOWN");
    t.equal(await codeOf(attach(llama, {policy: {default: "none"}})), "POLICY_INVALID");
    t.ok(store.active, "a failed attach leaves the one before");
});

t.test("use after dispose", async (t) => {
    const {llama, store, model} = await openModel();
    t.teardown(() => llama.dispose());
    const context = await createContext(model, "high", {sequences: 2});
    const [sequence, busy] = [context.getSequence(), context.getSequence()];
    await generate(sequence, randomTokens(50, 1), 2);

    store.dispose();
    store.dispose();
    t.notOk(store.active);
    t.equal((await generate(sequence, randomTokens(5, 2), 5)).length, 5, "contexts that exist go on");
    t.ok(store.stats(context).tokens > 50);
    t.equal(await codeOf(createContext(model, "high")), "DISPOSED");
    const stock = await createContext(model, undefined);
    t.throws(() => store.stats(stock), {code: "OPTION_INVALID"}, "without a tier new ones are stock's");
    await stock.dispose();

    const running = codeOf(generate(busy, randomTokens(500, 3), 500));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await context.dispose();
    await context.dispose();
    t.match(await running, /dispos/i, "a running evaluation ends");
    t.throws(() => store.stats(context), {code: "DISPOSED"});
    t.match(await codeOf(generate(sequence, randomTokens(5, 2), 1)), /dispos/i);
    t.throws(() => context.getSequence(), /dispos/i);

    const again = await attach(llama);
    const packed = await createContext(model, undefined);
    t.match(again.stats(packed), {tokens: 0}, "attached again");
    const next = await attach(llama, {policy: "exact"});
    t.notOk(again.active, "attaching once more replaces the store");
    const exact = await createContext(model, undefined);
    await generate(exact.getSequence(), randomTokens(5, 2), 1);
    t.match(next.stats(exact).sequences, [{tier: "exact"}]);
    t.match(next.stats(packed), {tokens: 0});

    await llama.dispose();
    t.equal(await codeOf(attach(llama)), "DISPOSED");
    t.throws(() => next.stats(exact), {code: "DISPOSED"});
});

t.test("other runtimes are refused before anything is touched", async (t) => {
    const {llama} = await openModel();
    t.teardown(() => llama.dispose());
    await checkRuntime(llama);
    const fake = {llamaCppRelease: {release: "b9999", repo: "ggml-org/llama.cpp"}} as unknown as Llama;
    t.match(await rejection(checkRuntime(fake)), {
        code: "RUNTIME_UNSUPPORTED", message: /with llama\.cpp b9999; supported: node-llama-cpp 3\.22\.1 with llama\.cpp v0\.5\.0/
    });

    const bindings = {AddonContext: class {}};
    const before = bindings.AddonContext;
    const other = {disposed: false, llamaCppRelease: {release: "b9999"}, _bindings: bindings} as unknown as Llama;
    t.equal(await codeOf(attach(other)), "RUNTIME_UNSUPPORTED");
    t.equal(bindings.AddonContext, before, "its context class is as it was");
    const warning = new Promise<Error>((resolve) => process.once("warning", resolve));
    const store = await attach(other, {onUnsupported: "stock"});
    t.match(await warning, {code: "DELTASTORE_RUNTIME_UNSUPPORTED"});
    t.notOk(store.active);
    t.equal(bindings.AddonContext, before);
});

t.test("embedding and ranking contexts stay stock", async (t) => {
    const plain = await openLlama();
    t.teardown(() => plain.dispose());
    const unattached = await plain.loadModel({modelPath, gpuLayers: 0});
    const text = "The cat sat on the mat.";
    const expected = await (await unattached.createEmbeddingContext({contextSize: 128, threads: 1})).getEmbeddingFor(text);

    const {llama, model} = await openModel();
    t.teardown(() => llama.dispose());
    const packed = await createContext(model, "high");
    const embedding = await model.createEmbeddingContext({contextSize: 128, threads: 1});
    const {vector} = await embedding.getEmbeddingFor(text);
    t.strictSame(vector, expected.vector, "the same vector, bit for bit");
    t.ok(vector.some((one) => one !== 0));
    t.equal(await codeOf(model.createRankingContext({contextSize: 128})), await codeOf(unattached.createRankingContext({contextSize: 128})),
        "a model without ranking says so as without the package");
    t.equal((await generate(packed.getSequence(), randomTokens(5, 1), 3)).length, 3);
});
