import {join} from "node:path";
import {attach, DeltaStoreError} from "llama-deltastore";
import {DisposedError, LlamaChatSession, type LlamaContext, type LlamaContextSequence, type Token} from "node-llama-cpp";
import t from "tap";
import {codeOf, divergence, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {f16ModelPath} from "../support/f16-model.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(240_000);

const llama = await openLlama();
const tiny = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0});
t.teardown(() => llama.dispose());

const evicting = {format: "k4v2", evict: {keep: 0.5, slack: 128}} as const;
const alone = await attach(llama, {policy: {tiers: {evicting}, sharing: {automatic: false}}});
const unshared = (kvCache: string) => tiny.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache});
const contextsAlone = new Map<string, LlamaContext>();
for (const tier of ["exact", "high", "conservative", "evicting"]) contextsAlone.set(tier, await unshared(tier));
const store = await attach(llama, {policy: {tiers: {evicting}}});

function createContext(kvCache: string, options: object = {}) {
    return tiny.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache, ...options});
}

const prefix = randomTokens(500, 1);
const question = (number: number) => randomTokens(30, 100 + number).slice(1);

/** Logits of the token after these, which the sequence then holds. */
async function nextLogits(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<Float32Array> {
    const results = await sequence.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, {generateNext: {logits: true}}]]);
    const logits = results.at(-1)!.next.logits!;
    return Float32Array.from({length: logits.size}, (_, token) => logits.get(token as Token)!);
}

async function logitsAlone(tier: string, ...parts: Token[][]): Promise<Float32Array> {
    const sequence = contextsAlone.get(tier)!.getSequence();
    for (const part of parts.slice(0, -1)) await sequence.evaluateWithoutGeneratingNewTokens(part);
    const logits = await nextLogits(sequence, parts.at(-1)!);
    sequence.dispose();
    await new Promise((resolve) => setTimeout(resolve, 20));  // it goes back to the context under the context's lock
    return logits;
}

for (const tier of ["exact", "high", "conservative"]) {
    t.test(`${tier}: what was evaluated as a prompt of its own is attached, bit for bit`, async (t) => {
        const context = await createContext(tier);
        const first = context.getSequence(), second = context.getSequence();
        await first.evaluateWithoutGeneratingNewTokens(prefix);
        const before = second.tokenMeter.getState().usedInputTokens;
        const logits = await nextLogits(second, [...prefix, ...question(1)]);
        t.strictSame(logits, await logitsAlone(tier, prefix, question(1)));
        t.ok(second.tokenMeter.getState().usedInputTokens - before < 50, "only the rest was evaluated");
        t.strictSame(second.contextTokens, [...prefix, ...question(1)]);
        t.match(store.stats(context), {sharing: {attached: 1, attachedTokens: 500}, tokens: 1029});
        const [own] = store.stats(context).sequences;
        t.ok(own!.sharedBytes > 0.5 * own!.residentBytes);
        // The first goes on by itself.
        t.strictSame(await nextLogits(first, question(2)), await logitsAlone(tier, prefix, question(2)));
        await context.dispose();
    });
}

t.test("where texts part, what they have in common is kept, and no sequence is changed by what another does", async (t) => {
    const context = await createContext("high");
    const sequences = [1, 2, 3].map(() => context.getSequence());
    const texts = sequences.map((_, index) => [...prefix, ...question(10 + index)]);
    for (const [index, sequence] of sequences.entries()) {
        const logits = await nextLogits(sequence, texts[index]!);
        // A tiny model's random weights make much of little; the same bound as for the tier itself.
        t.ok(divergence(await logitsAlone("exact", texts[index]!), logits) < 0.3);
    }
    const {sharing} = store.stats(context);
    t.match(sharing, {attached: 2, keptPrefixes: 1});
    t.ok(sharing!.attachedTokens >= 500 + 388, `${sharing!.attachedTokens} tokens`);
    const expected = await generate(sequences[2]!, question(20), 5);
    await sequences[0]!.clearHistory();
    await sequences[1]!.eraseContextTokenRanges([{start: 10, end: 300}]);
    await sequences[2]!.eraseContextTokenRanges([{start: texts[2]!.length, end: sequences[2]!.nextTokenIndex}]);
    t.strictSame(await generate(sequences[2]!, question(20), 5), expected);
    await context.dispose();
});

t.test("sequences that begin at once wait for the first", async (t) => {
    const context = await createContext("high");
    const logits = await Promise.all([1, 2, 3, 4].map((number) => nextLogits(context.getSequence(), [...prefix, ...question(number)])));
    t.equal(store.stats(context).sharing!.attached, 3);
    t.equal(new Set(logits.map((row) => row.join())).size, 4);
    await context.dispose();
});

t.test("evaluation without a next token attaches, too; what was evicted or loaded is not shared", async (t) => {
    const context = await createContext("high");
    const [first, second, third, fourth] = [1, 2, 3, 4].map(() => context.getSequence());
    await first!.evaluateWithoutGeneratingNewTokens(prefix);
    await second!.evaluateWithoutGeneratingNewTokens(prefix);
    t.match(store.stats(context), {sharing: {attached: 1, attachedTokens: 388}});  // whole pages before the last one's window
    const path = join(t.testdir(), "state.bin");
    await first!.saveStateToFile(path);
    for (const sequence of [first!, second!]) {
        await sequence.clearHistory();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20, 3));
    }
    const {attached} = store.stats(context).sharing!;
    await third!.loadStateFromFile(path, {acceptRisk: true});
    await store.evict(third!, {keep: 0.2, scorer: "recency"});
    await fourth!.evaluateWithoutGeneratingNewTokens(prefix.slice(0, 300));
    t.ok(store.stats(context).sequences.find(({tokens}) => tokens === 300)!.kept === 1);
    t.ok(store.stats(context).sharing!.attached <= attached + 1, "from the kept prefix at most");
    await context.dispose();
});

t.test("a new prompt does not wait until others have done generating", async (t) => {
    const context = await createContext("high");
    const sequences = [1, 2, 3].map(() => context.getSequence());
    await sequences[0]!.evaluateWithoutGeneratingNewTokens(prefix);
    let generated = 0, generatedBefore = -1;
    const generating = [0, 1].map(async (index) => {
        for await (const _ of sequences[index]!.evaluate(question(index), {temperature: 0, yieldEogToken: true}))
            if (++generated >= 400) break;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await nextLogits(sequences[2]!, [...prefix, ...question(5)]);
    generatedBefore = generated;
    await Promise.all(generating);
    t.ok(generatedBefore < 350, `after ${generatedBefore} tokens of the others`);
    t.equal(store.stats(context).sharing!.attached, 1);
    await context.dispose();
});

t.test("a sequence that is disposed while it generates or waits ends as stock's does", async (t) => {
    const context = await createContext("high");
    const first = context.getSequence(), second = context.getSequence();
    const generating = (async () => {
        for await (const _ of first.evaluate(question(1), {temperature: 0, yieldEogToken: true}));
    })();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const waiting = nextLogits(second, [...prefix, ...question(2)]);
    first.dispose();
    second.dispose();
    const [stopped, waited] = await Promise.allSettled([generating, waiting]);
    t.type(stopped.status === "rejected" && stopped.reason, DisposedError);
    if (waited.status === "rejected") t.type(waited.reason, DisposedError);  // else it was done before
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.equal((await generate(context.getSequence(), question(3), 3)).length, 3);
    await context.dispose();
});

t.test("a model with positions of several parts, in a tier that evicts", async (t) => {
    const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("qwen2vl-sections")), gpuLayers: 0});
    const context = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache: "evicting"});
    const sequence = context.getSequence();
    await nextLogits(sequence, prefix);
    t.ok(store.stats(context).sequences[0]!.kept < 0.8);
    await context.dispose();
});

t.test("a prefix outlives its sequence within the budget, and other tokens are not taken for it", async (t) => {
    const context = await createContext("exact", {sequences: 1});
    const first = context.getSequence();
    await nextLogits(first, [...prefix, ...question(1)]);
    first.dispose();
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.match(store.stats(context), {tokens: 0, sharing: {keptPrefixes: 1}});
    const second = context.getSequence();
    const other = [...prefix.slice(0, 250), ...randomTokens(251, 9).slice(1)];
    t.strictSame(await nextLogits(second, [...other, ...question(1)]).then((logits) => logits.length > 0), true);
    t.equal(store.stats(context).sharing!.attachedTokens, 250 + Number(other[250] === prefix[250]));
    await second.clearHistory();
    t.strictSame(await nextLogits(second, [...prefix, ...question(1)]), await nextLogitsOfKept(second));
    await context.dispose();

    async function nextLogitsOfKept(sequence: LlamaContextSequence) {
        await sequence.clearHistory();
        return await nextLogits(sequence, [...prefix, ...question(1)]);
    }
});

t.test("an evicted prefix is shared as it is, and stays shared when both go on", async (t) => {
    const context = await createContext("evicting");
    const sequences = [1, 2, 3].map(() => context.getSequence());
    for (const [index, sequence] of sequences.entries()) await nextLogits(sequence, [...prefix, ...question(30 + index)]);
    const {sharing, sequences: stats} = store.stats(context);
    t.equal(sharing!.attached, 2);
    for (const {kept, sharedBytes} of stats.slice(1)) t.ok(kept < 0.75 && sharedBytes > 0, `kept ${kept}`);
    await sequences[2]!.evaluateWithoutGeneratingNewTokens(randomTokens(200, 5).slice(1));
    const before = store.stats(context).sequences[2]!;
    await store.evict(sequences[2]!, {keep: 0.2});
    const after = store.stats(context).sequences[2]!;
    t.ok(before.sharedBytes > 0 && after.kept < before.kept, "of its own rows some go");
    t.strictSame([after.sharedBytes, after.tokens], [before.sharedBytes, 728], "and none that others have");
    t.equal((await generate(sequences[2]!, question(3), 5)).length, 5);
    await context.dispose();
});

t.test("kept prefixes make room when the pool is at its limit", async (t) => {
    const limited = await attach(llama, {policy: {pool: {limit: "12MiB"}}});
    const context = await createContext("exact", {sequences: 2});
    const first = context.getSequence();
    for (let text = 0; text < 12; text++) {
        await first.evaluateWithoutGeneratingNewTokens(randomTokens(400, 50 + text));
        await first.clearHistory();
    }
    const {sharing, residentBytes} = limited.stats(context);
    t.ok(sharing!.keptPrefixes > 0 && residentBytes <= 12 * 1024 ** 2, `${sharing!.keptPrefixes} kept in ${residentBytes}`);
    await context.dispose();
    await attach(llama, {policy: {tiers: {evicting}}});
});

t.test("store.fork", async (t) => {
    const store = await attach(llama, {policy: {tiers: {evicting}, sharing: {automatic: false}}});
    const context = await createContext("conservative"), other = await createContext("conservative");
    const source = context.getSequence(), target = context.getSequence(), foreign = other.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prefix);
    await target.evaluateWithoutGeneratingNewTokens(question(7));
    await store.fork(source, target);
    t.strictSame(target.contextTokens, prefix);
    t.strictSame(await nextLogits(target, question(1)), await nextLogits(source, question(1)));
    await store.fork(source, target, {upTo: 200});
    t.strictSame(target.contextTokens, prefix.slice(0, 200));
    await store.fork(source, target, {upTo: 0});
    t.equal(target.nextTokenIndex, 0);
    t.equal(store.stats(context).sharing, null);
    for (const upTo of [-1, 1.5, NaN, 10_000, "5"])
        t.match(await rejection(store.fork(source, target, {upTo: upTo as number})), {code: "OPTION_INVALID", message: `upTo is ${typeof upTo === "string" ? "'5'" : upTo}`});
    t.equal(await codeOf(store.fork(source, foreign)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork({} as LlamaContextSequence, target)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork(source, undefined as unknown as LlamaContextSequence)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork(undefined as unknown as LlamaContextSequence, target)), "OPTION_INVALID");
    for (const options of [null, 100, [], {upto: 3}])
        t.match(await rejection(store.fork(source, target, options as object)), {code: "OPTION_INVALID", message: "upTo"});
    // Disposal takes a while; whoever is first, nothing is left to nobody, or half done.
    const third = context.getSequence(), settled = () => new Promise((resolve) => setTimeout(resolve, 50));
    target.dispose();
    await store.fork(source, target).catch((error: unknown) => t.type(error, DeltaStoreError));
    await settled();
    t.equal(await codeOf(store.fork(source, target)), "DISPOSED");
    t.equal(store.stats(context).sequences.length, 1);
    await third.evaluateWithoutGeneratingNewTokens(question(1));
    source.dispose();
    await store.fork(source, third).catch((error: unknown) => t.type(error, DeltaStoreError));
    await settled();
    t.equal(await codeOf(store.fork(source, third)), "DISPOSED");
    t.strictSame(store.stats(context).sequences.map(({tokens}) => tokens), [third.nextTokenIndex]);
    t.equal((await generate(third, question(2), 3)).length, 3);
    const empty = context.getSequence();
    await store.fork(empty, third);
    t.equal(third.nextTokenIndex, 0);
    t.equal((await generate(third, question(2), 3)).length, 3);
    await context.dispose();
    await other.dispose();
});

t.test("an evaluation under way doesn't go on behind what store.fork has put in its place", async (t) => {
    const store = await attach(llama, {policy: {tiers: {evicting}}});
    const context = await createContext("conservative");
    const source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prefix);
    const begin = async (sequence: LlamaContextSequence) => {
        const iterator = sequence.evaluate(question(7), {temperature: 0, yieldEogToken: true});
        await iterator.next();
        return iterator;
    };
    const left = await begin(target);
    await store.fork(source, target);
    t.match(await rejection(left.next()), {code: "OPTION_INVALID", message: /store\.fork/});
    t.strictSame(target.contextTokens, prefix);

    const running = codeOf(generate(target, question(2), 500)), before = target.nextTokenIndex;
    while (target.nextTokenIndex < before + 40) await new Promise(setImmediate);
    await store.fork(source, target);
    t.equal(await running, "OPTION_INVALID");
    t.strictSame(target.contextTokens, prefix);

    const ofSource = await begin(source);
    await begin(target);  // and never asked for more
    await store.fork(source, target);
    t.notOk((await ofSource.next()).done, "the source's goes on");
    t.equal((await generate(target, question(1), 3)).length, 3, "a new one goes on from the source's tokens");
    await context.dispose();
});

t.test("chats with one system prompt, on the real model", async (t) => {
    await attach(llama);
    const real = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
    const context = await real.createContext({contextSize: 1024, sequences: 2, threads: 2, flashAttention: true, kvCache: "high"});
    const systemPrompt = "You are a patient librarian. ".repeat(30) + "Answer in one short sentence.";
    const answers: string[] = [];
    for (const question of ["What is the capital of France?", "What is the capital of Italy?"]) {
        const session = new LlamaChatSession({contextSequence: context.getSequence(), systemPrompt});
        answers.push(await session.prompt(question, {maxTokens: 24, temperature: 0}));
    }
    const {attached, attachedTokens} = store.stats(context).sharing!;
    t.equal(attached, 1);
    t.ok(attachedTokens > 100, `${attachedTokens} tokens`);
    t.match(answers, [/Paris/, /Rome/]);
    await context.dispose();
});
