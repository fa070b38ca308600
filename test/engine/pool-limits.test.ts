import {attach, type PolicyFile} from "llama-deltastore";
import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(120_000);

async function openModel(policy?: string | PolicyFile) {
    const llama = await openLlama();
    const store = await attach(llama, policy === undefined ? {} : {policy});
    return {llama, store, model: await loadTiny(llama)};
}

function createContext(model: LlamaModel, kvCache: string | undefined, options: object = {}): Promise<LlamaContext> {
    return model.createContext({contextSize: 2048, threads: 1, ...(kvCache === undefined ? {} : {kvCache}), ...options});
}

/** A context packs all keys about the mean of its first sequence's, so texts are compared behind the same first one. */
async function centre(context: LlamaContext): Promise<void> {
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, 50));
    await sequence.dispose();
}

for (const tier of ["exact", "high", "conservative"]) {
    t.test(`${tier}: the pool's limit stops one sequence and no other`, async (t) => {
        // The small one can't meet the limit: it opens no page while the large one runs (at 132 tokens).
        const [small, large] = [randomTokens(100, 51), randomTokens(1900, 52)];
        const options = {sequences: 2, batchSize: 128};
        const free = await openModel(tier);
        const roomy = await createContext(free.model, undefined, options);
        await centre(roomy);
        const [writing, reading] = [roomy.getSequence(), roomy.getSequence()];
        const expected = await generate(writing, small, 150);
        await reading.evaluateWithoutGeneratingNewTokens(large);
        t.equal(writing.nextTokenIndex + reading.nextTokenIndex, 249 + 1900, "both are held");
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

t.test("a prompt that meets the limit half-way leaves what the sequence held before", async (t) => {
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
    const told = (error: Error) => Number(/needs at least (\d+) bytes: raise the limit$/.exec(error.message)?.[1]);
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

t.test("a limit without room is an error, and no other cache takes its place", async (t) => {
    const {llama, model} = await openModel({pool: {limit: 4096}, onUnsupported: "stock"});
    t.teardown(() => llama.dispose());
    for (const options of [{}, {contextSize: "auto"}, {kvCache: "compact"}, {contextSize: {max: 4096}, sequences: 1}])
        t.equal(await codeOf(createContext(model, undefined, options)), "POOL_LIMIT_REACHED", JSON.stringify(options));
    await (await createContext(model, "stock")).dispose();
});
