import {attach} from "llama-deltastore";
import {
    DraftSequenceTokenPredictor, InputLookupTokenPredictor, LlamaChatSession, LlamaCompletion, type LlamaContext, type LlamaContextSequence,
    type LlamaModel, type Token
} from "node-llama-cpp";
import t, {type Test} from "tap";
import {divergence, divergences, generate, handleOf, logitsOf, nativeBinding, openLlama, randomTokens} from "../support/engine.js";
import {f16ModelPath} from "../support/f16-model.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(180_000);

const llama = await openLlama();
// What sequences share by themselves is sharing.test.ts's.
const store = await attach(llama, {policy: {sharing: {automatic: false}}});
const real = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
const native = await nativeBinding();
/** Models that rotate (or bias) keys in different ways. */
const shiftedModels = [
    "llama-head-128", "gptneox-partial-rotation", "llama-rope-factors", "minicpm3-key-192-value-128", "llama-yarn", "bloom-alibi"
];
const loaded = new Map<string, LlamaModel>();
const tiny = await loadTiny("llama-head-128");
t.teardown(() => llama.dispose());

async function loadTiny(name: string): Promise<LlamaModel> {
    const model = loaded.get(name) ?? await llama.loadModel({modelPath: await tinyModelPath(tinyModel(name)), gpuLayers: 0});
    loaded.set(name, model);
    return model;
}

/** Moves positions of a native sequence; node-llama-cpp itself only moves them back. */
function shiftCells(context: LlamaContext, sequence: number, start: number, end: number, delta: number): void {
    const handle = handleOf(context) as {shiftSequenceTokenCells(sequence: number, start: number, end: number, delta: number): void};
    handle.shiftSequenceTokenCells(sequence, start, end, delta);
}

interface Copying {
    _copyStateFromOtherSequence(other: LlamaContextSequence, upTo: number): Promise<boolean>;
}

const copyState = (target: LlamaContextSequence, source: LlamaContextSequence, upTo = source.nextTokenIndex) =>
    (target as unknown as Copying)._copyStateFromOtherSequence(source, upTo);

/** Logits of the token after these, which the sequence then holds. */
async function nextLogits(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<Float32Array> {
    const results = await sequence.controlledEvaluate([
        ...tokens.slice(0, -1), [tokens.at(-1)!, {generateNext: {logits: true}}]
    ]);
    const logits = results.at(-1)!.next.logits!;
    return Float32Array.from({length: logits.size}, (_, token) => logits.get(token as Token)!);
}

/** Mean divergence from stock that each tier may have, in nats; see attention-shapes.test.ts for what is measured. */
const bounds = [["exact", 2e-4], ["high", 0.3], ["conservative", 0.6], ["compact", 0.95]] as const;

function createContext(model: LlamaModel, kvCache: string, options: object = {}) {
    return model.createContext({contextSize: 512, threads: 1, flashAttention: true, kvCache, ...options});
}

t.test("four sequences decode together, each as if alone", async (t) => {
    const prompts = [40, 130, 64, 7].map((length, at) => randomTokens(length, 20 + at));
    const steps = prompts.map((_, at) => randomTokens(71, 30 + at).slice(1));
    for (const [tier, bound] of bounds) {
        const alone: Float32Array[][] = [];
        for (const [at, prompt] of prompts.entries()) {
            const context = await createContext(tiny, "exact");
            const sequence = context.getSequence();
            const logits = [await nextLogits(sequence, prompt)];
            for (const token of steps[at]!) logits.push(await nextLogits(sequence, [token]));
            alone.push(logits);
            await context.dispose();
        }
        const context = await createContext(tiny, tier, {sequences: 4});
        const sequences = prompts.map(() => context.getSequence());
        const together = (await Promise.all(sequences.map((sequence, at) => nextLogits(sequence, prompts[at]!)))).map((row) => [row]);
        for (const step of steps[0]!.keys()) {
            const rows = await Promise.all(sequences.map((sequence, at) => nextLogits(sequence, [steps[at]![step]!])));
            for (const [at, row] of rows.entries()) together[at]!.push(row);
        }
        for (const at of prompts.keys()) {
            const {mean} = divergences(alone[at]!, together[at]!);
            t.ok(mean < bound, `${tier}, sequence ${at}`, {mean});
        }
        const stats = store.stats(context);
        t.strictSame(stats.sequences.map(({id, tokens}) => [id, tokens]), prompts.map((prompt, at) => [at, prompt.length + 70]));
        t.equal(stats.tokens, stats.sequences.reduce((sum, {tokens}) => sum + tokens, 0));
        await context.dispose();
    }
});

t.test("logits after erasing in the middle are those of a stock context", async (t) => {
    const prompt = randomTokens(300, 12);
    const run = async (context: LlamaContext) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(prompt);
        await sequence.eraseContextTokenRanges([{start: 30, end: 50}, {start: 90, end: 150}]);
        t.strictSame(sequence.contextTokens, [...prompt.slice(0, 30), ...prompt.slice(50, 90), ...prompt.slice(150)]);
        const rows = [await nextLogits(sequence, randomTokens(20, 13).slice(1))];
        await sequence.eraseContextTokenRanges([{start: 1, end: 7}]);  // shifts what was shifted before
        rows.push(await nextLogits(sequence, randomTokens(20, 14).slice(1)));
        await sequence.eraseContextTokenRanges([{start: 200, end: 1000}]);
        rows.push(await nextLogits(sequence, randomTokens(20, 15).slice(1)));
        t.equal(sequence.nextTokenIndex, 219);
        return rows;
    };
    for (const name of shiftedModels) {
        if (name === "llama-yarn") continue;  // stock scales shifted keys once more by YaRN's factor
        const model = await loadTiny(name);
        const stock = await createContext(model, "stock");
        const expected = await run(stock);
        for (const [tier, bound] of model === tiny ? bounds : bounds.slice(0, 1)) {
            const context = await createContext(model, tier);
            const {mean} = divergences(expected, await run(context));
            t.ok(mean < bound, `${name} with ${tier} is near stock`, {mean});
            t.equal(store.stats(context).tokens, 219);
            await context.dispose();
        }
        await stock.dispose();
    }
});

t.test("shifting a whole sequence changes nothing", async (t) => {
    const [prompt, more] = [randomTokens(200, 17), randomTokens(20, 18).slice(1)];
    for (const name of shiftedModels) {
        const context = await createContext(await loadTiny(name), "exact", {sequences: 2});
        await logitsOf(native, context, prompt, {sequence: 0});
        await logitsOf(native, context, prompt, {sequence: 1});
        shiftCells(context, 1, 0, prompt.length, 150);
        shiftCells(context, 1, 150, 150 + prompt.length, -50);
        const still = await logitsOf(native, context, more, {sequence: 0, position: 200});
        const shifted = await logitsOf(native, context, more, {sequence: 1, position: 300});
        const {mean} = divergences(still, shifted);
        t.ok(mean < bounds[0][1], `${name}: attention depends on distances only`, {mean});
        shiftCells(context, 0, 100, 219, 50);
        const parted = await logitsOf(native, context, more, {sequence: 0, position: 269});
        const whole = await logitsOf(native, context, more, {sequence: 1, position: 319});
        t.ok(divergences(whole, parted).mean > 1e-3, "and it does depend on them");
        await context.dispose();
    }
});

t.test("running past the context's size shifts it", async (t) => {
    const tokens = randomTokens(900, 16);
    for (const [tier, bound] of bounds) {
        const contexts = [await createContext(tiny, "stock", {contextSize: 256}), await createContext(tiny, tier, {contextSize: 256})];
        const [expected, found] = await Promise.all(contexts.map(async (context) => {
            const sequence = context.getSequence({contextShift: {size: 64}});
            const rows: Float32Array[] = [];
            for (let start = 0; start < tokens.length; start += 30) rows.push(await nextLogits(sequence, tokens.slice(start, start + 30)));
            t.ok(sequence.nextTokenIndex < 256);
            if (context === contexts[1]) t.equal(store.stats(context).tokens, sequence.nextTokenIndex);
            return rows;
        })) as [Float32Array[], Float32Array[]];
        // What a shift does to rows that were rounded to F16 once more adds up over the ten shifts.
        const {mean} = divergences(expected, found);
        t.ok(mean < bound, `${tier} is near stock`, {mean});
        for (const context of contexts) await context.dispose();
    }
});

t.test("clearHistory and adaptStateToTokens", async (t) => {
    const context = await createContext(tiny, "high");
    const sequence = context.getSequence();
    const [one, two] = [randomTokens(150, 1), randomTokens(150, 2)];
    const first = await nextLogits(sequence, one);
    const {residentBytes} = store.stats(context);
    await sequence.clearHistory();
    t.match(store.stats(context), {tokens: 0, pages: 0, sequences: []});
    t.ok(store.stats(context).residentBytes < residentBytes / 2);
    t.strictSame(await nextLogits(sequence, one), first, "the same tokens give the same logits");

    const changed = [...one.slice(0, 100), ...two.slice(100)];
    await sequence.adaptStateToTokens(changed, false);
    t.equal(sequence.nextTokenIndex, 100);
    t.equal(store.stats(context).tokens, 100);
    const adapted = await nextLogits(sequence, changed.slice(100));
    const fresh = await createContext(tiny, "high");
    t.ok(divergence(await nextLogits(fresh.getSequence(), changed), adapted) < 0.05);
    t.equal(sequence.nextTokenIndex, 150);

    await sequence.adaptStateToTokens([...changed.slice(0, 20), ...changed.slice(60)]);
    t.equal(sequence.nextTokenIndex, 110, "tokens after a gap are shifted");
    t.equal(store.stats(context).tokens, 110);
    t.equal((await generate(sequence, randomTokens(5, 5), 10)).length, 10);
    await context.dispose();
    await fresh.dispose();
});

t.test("a disposed sequence's id is used again, from nothing", async (t) => {
    const context = await createContext(tiny, "high", {sequences: 2});
    const [kept, first] = [context.getSequence(), context.getSequence()];
    const prompt = randomTokens(120, 4);
    await generate(kept, prompt, 5);
    const expected = await generate(first, prompt, 20);
    t.equal(store.stats(context).sequences.length, 2);
    t.throws(() => context.getSequence(), /No sequences left/);
    await first.dispose();
    t.strictSame(store.stats(context).sequences.map(({id}) => id), [0]);
    const second = context.getSequence();
    t.strictSame(await generate(second, prompt, 20), expected);
    t.strictSame(store.stats(context).sequences.map(({id}) => id), [0, 1]);
    await context.dispose();
});

t.test("a copied sequence goes on as its source does, without its pages", async (t) => {
    for (const tier of ["exact", "high", "conservative"]) {
        const context = await createContext(tiny, tier, {sequences: 3});
        const [source, copy, part] = [context.getSequence(), context.getSequence(), context.getSequence()];
        const prompt = randomTokens(333, 6);
        await source.evaluateWithoutGeneratingNewTokens(prompt);
        const before = store.stats(context);
        t.ok(await copyState(copy, source));
        const after = store.stats(context);
        t.equal(after.tokens, 2 * before.tokens);
        t.ok(after.pages <= before.pages * 1.5, "full pages are shared", {before, after});

        const more = randomTokens(30, 7).slice(1);
        const [ofSource, ofCopy] = [await nextLogits(source, more), await nextLogits(copy, more)];
        t.strictSame(ofCopy, ofSource, `${tier}: the same continuation, bit for bit`);

        // Both write on, in turns, into what was one page.
        t.ok(await copyState(part, source, 200));
        t.equal(part.nextTokenIndex, 200);
        const [otherTokens, moreTokens] = [randomTokens(60, 8), randomTokens(60, 9)];
        await copy.evaluateWithoutGeneratingNewTokens(otherTokens);
        await part.evaluateWithoutGeneratingNewTokens(otherTokens);
        const text = await nextLogits(source, moreTokens);
        await part.dispose();
        await copy.dispose();
        t.strictSame(store.stats(context).sequences.map(({id, tokens}) => [id, tokens]), [[0, 333 + 29 + 60]]);

        const alone = (await createContext(tiny, tier)).getSequence();
        await alone.evaluateWithoutGeneratingNewTokens(prompt);
        await alone.evaluateWithoutGeneratingNewTokens(more);
        t.strictSame(await nextLogits(alone, moreTokens), text, `${tier}: the source doesn't notice its copies`);
        await alone.context.dispose();
        await context.dispose();
    }
});

t.test("erasing and shifting one of two sequences with the same pages leaves the other", async (t) => {
    for (const tier of ["exact", "high"]) {
        const context = await createContext(tiny, tier, {sequences: 2});
        const [source, copy] = [context.getSequence(), context.getSequence()];
        const [prompt, more] = [randomTokens(300, 10), randomTokens(20, 11).slice(1)];
        await source.evaluateWithoutGeneratingNewTokens(prompt);
        await copyState(copy, source);
        await copy.eraseContextTokenRanges([{start: 20, end: 90}]);
        const shifted = await nextLogits(copy, more);
        const found = await nextLogits(source, more);

        const fresh = await createContext(tiny, tier);
        const alone = fresh.getSequence();
        await alone.evaluateWithoutGeneratingNewTokens(prompt);
        t.strictSame(found, await nextLogits(alone, more), tier);
        t.ok(divergence(found, shifted) > 0.01, "the shifted one differs");
        await fresh.dispose();
        await context.dispose();
    }
});

t.test("chat sessions: preload, complete, prompt", async (t) => {
    const answers: string[][] = [];
    for (const tier of ["stock", "exact"]) {
        const context = await createContext(real, tier, {contextSize: 1024});
        const session = new LlamaChatSession({contextSequence: context.getSequence()});
        const options = {temperature: 0, maxTokens: 24} as const;
        await session.preloadPrompt("What is the capital of France?");
        const first = await session.prompt("What is the capital of France?", options);
        const completed = await session.completePrompt("Is it larger", options);
        const second = await session.prompt("Is it larger than Berlin?", options);
        answers.push([first, completed, second]);
        const completion = new LlamaCompletion({contextSequence: (await createContext(real, tier)).getSequence()});
        answers.at(-1)!.push(await completion.generateCompletion("Roses are red, violets are", {...options, maxTokens: 8}));
        await context.dispose();
    }
    t.strictSame(answers[1], answers[0], "the answers are stock's");
    t.match(answers[1]![0], /Paris/);
});

/**
 * Batches of other sizes round differently, and coded rows make more of it. When a draft comes is a matter of time, so texts of one prompt may
 * part, but only where two tokens are nearly as likely: with batches of 1 to 5 tokens the difference of
 * two logits was 0.178 to 0.193 in `exact`, and -0.31 to 0.19 with the window at 8 bits.
 */
async function alikeButForTies(t: Test, context: LlamaContext, tier: string, prompt: Token[], found: Token[], plain: Token[], what: string): Promise<void> {
    const message = `${tier}, ${what}`;
    t.equal(found.length, plain.length, message);
    const parting = found.findIndex((token, index) => token !== plain[index]);
    if (parting < 0) return;
    native.clearSequence(handleOf(context), 0);
    const tokens = [...prompt, ...plain.slice(0, parting)];
    const [logits] = await logitsOf(native, context, tokens, {from: tokens.length - 1});
    const gap = Math.abs(logits![plain[parting]!]! - logits![found[parting]!]!);
    t.ok(gap < (tier === "exact" ? 0.05 : 0.5), `${message}: a tie at token ${parting}`, {gap});
}

t.test("token predictors don't change the text", async (t) => {
    const prompt = real.tokenize("Repeat after me: the cat sat on the mat, the cat sat on the mat, the cat sat on");
    for (const tier of ["exact", "high"]) {
        const context = await createContext(real, tier, {sequences: 3});
        const sequence = context.getSequence();  // held: once collected, it would be disposed while its rows are evaluated again
        const plain = await generate(sequence, prompt, 32);

        const predictor = new InputLookupTokenPredictor();
        predictor.updateInputTokens(prompt);
        const lookup = context.getSequence({tokenPredictor: predictor});
        await alikeButForTies(t, context, tier, prompt, await generate(lookup, prompt, 32), plain, "prompt look-up");
        const {validated, refuted} = lookup.tokenPredictions;
        t.ok(validated > 0 && refuted > 0, "some predictions were right and some wrong", {validated, refuted});

        const draftContext = await createContext(real, tier);
        const draft = new DraftSequenceTokenPredictor(draftContext.getSequence(), {minTokens: 1, maxTokens: 4, minConfidence: 0});
        const drafted = context.getSequence({tokenPredictor: draft});
        await alikeButForTies(t, context, tier, prompt, await generate(drafted, prompt, 32), plain, "draft model");
        t.ok(drafted.tokenPredictions.validated > 3, "some drafts were right", drafted.tokenPredictions);
        t.ok(store.stats(draftContext).tokens > prompt.length, "the draft's cache is packed, too");
        sequence.dispose();
        await context.dispose();
        await draftContext.dispose();
    }
});
