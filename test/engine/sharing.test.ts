import {join} from "node:path";
import {attach} from "llama-deltastore";
import {LlamaChatSession, type LlamaContext, type Token} from "node-llama-cpp";
import t from "tap";
import {generate, randomTokens} from "../support/engine.js";
import {f16ModelPath} from "../support/f16-model.js";
import {divergence, nextLogits} from "../support/logits.js";
import {openSharing, prefix, question, sharingTiers} from "../support/sharing.js";
import {unshared} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, createContext} = await openSharing(t);

/** By tier: a context that shares nothing, whose logits are the right ones. */
const contextsAlone = new Map<string, LlamaContext>();
await attach(llama, {policy: {tiers: sharingTiers, ...unshared}});
for (const tier of ["exact", "high", "conservative"]) contextsAlone.set(tier, await createContext(tier, {sequences: 1}));
const store = await attach(llama, {policy: {tiers: sharingTiers}});

async function logitsAlone(tier: string, ...parts: Token[][]): Promise<Float32Array> {
    const sequence = contextsAlone.get(tier)!.getSequence();
    for (const part of parts.slice(0, -1)) await sequence.evaluateWithoutGeneratingNewTokens(part);
    const logits = await nextLogits(sequence, parts.at(-1)!);
    sequence.dispose();
    await settled(20);  // its number comes back under the context's lock
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
        // The first one goes on, too.
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
        // The bound is the tier's own: a tiny model's random weights make small errors large.
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

t.test("evaluation without a next token attaches, too, and evicted or loaded rows are not shared", async (t) => {
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

t.test("chats with one system prompt share it on the real model", async (t) => {
    const store = await attach(llama);
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
