import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import t from "tap";
import {handleOf, nativeBinding, randomTokens} from "../support/engine.js";
import {divergences, logitsOf, nextLogits} from "../support/logits.js";
import {bounds, openSequences} from "../support/sequences.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(180_000);

const {llama, store, tiny, createContext} = await openSequences(t);

const native = await nativeBinding();
/** Models that rotate (or bias) keys in different ways. */
const shiftedModels = [
    "llama-head-128", "gptneox-partial-rotation", "llama-rope-factors", "minicpm3-key-192-value-128", "llama-yarn", "bloom-alibi",
    "stablelm-head-80", "phi3-head-96", "llama-head-72", "deepseek2-latent"
];
const loaded = new Map<string, LlamaModel>([["llama-head-128", tiny]]);

async function loadOnce(name: string): Promise<LlamaModel> {
    const model = loaded.get(name) ?? await loadTiny(llama, name);
    loaded.set(name, model);
    return model;
}

/** Moves positions of a native sequence; node-llama-cpp itself only moves them back. */
function shiftCells(context: LlamaContext, sequence: number, start: number, end: number, delta: number): void {
    const handle = handleOf(context) as {shiftSequenceTokenCells(sequence: number, start: number, end: number, delta: number): void};
    handle.shiftSequenceTokenCells(sequence, start, end, delta);
}

t.test("logits after erasing in the middle are those of a stock context", async (t) => {
    const prompt = randomTokens(300, 12);
    const run = async (context: LlamaContext) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(prompt);
        await sequence.eraseContextTokenRanges([{start: 30, end: 50}, {start: 90, end: 150}]);
        t.strictSame(sequence.contextTokens, [...prompt.slice(0, 30), ...prompt.slice(50, 90), ...prompt.slice(150)]);
        const rows = [await nextLogits(sequence, randomTokens(20, 13).slice(1))];
        await sequence.eraseContextTokenRanges([{start: 1, end: 7}]);  // shifts rows that were shifted before
        rows.push(await nextLogits(sequence, randomTokens(20, 14).slice(1)));
        await sequence.eraseContextTokenRanges([{start: 200, end: 1000}]);
        rows.push(await nextLogits(sequence, randomTokens(20, 15).slice(1)));
        t.equal(sequence.nextTokenIndex, 219);
        return rows;
    };
    for (const name of shiftedModels) {
        if (name === "llama-yarn") continue;  // stock scales shifted keys once more by YaRN's factor
        const model = await loadOnce(name);
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

t.test("shifting a whole sequence changes no logits", async (t) => {
    const [prompt, more] = [randomTokens(200, 17), randomTokens(20, 18).slice(1)];
    for (const name of shiftedModels) {
        const context = await createContext(await loadOnce(name), "exact", {sequences: 2});
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

t.test("a sequence that runs past the context's size is shifted, and stays near stock", async (t) => {
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
        // Each of the ten shifts rounds rows to F16 once more.
        const {mean} = divergences(expected, found);
        t.ok(mean < bound, `${tier} is near stock`, {mean});
        for (const context of contexts) await context.dispose();
    }
});
