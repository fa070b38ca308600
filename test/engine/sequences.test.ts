import type {Token} from "node-llama-cpp";
import t from "tap";
import {generate, moreTokens, randomTokens, rejection} from "../support/engine.js";
import {divergence, divergences, nextLogits} from "../support/logits.js";
import {bounds, openSequences} from "../support/sequences.js";

t.setTimeout(180_000);

const {store, tiny, createContext} = await openSequences(t);

t.test("what is no token of the model is refused, and costs other sequences nothing", async (t) => {
    const context = await createContext(tiny, "high", {sequences: 2}), sequence = context.getSequence(), other = context.getSequence(), tokens = randomTokens(20, 9);
    const vocabulary = (await nextLogits(other, tokens)).length;
    for (const wrong of [vocabulary, 999_999_999, -5]) {
        const [error, text] = await Promise.all([
            rejection(sequence.evaluateWithoutGeneratingNewTokens([...tokens, wrong] as Token[])), generate(other, moreTokens(3, 8), 2)
        ]);
        t.match(error, {code: "OPTION_INVALID", message: `have ${wrong}; the model has the tokens 0 to ${vocabulary - 1}`});
        t.equal(text.length, 2);
    }
    await sequence.evaluateWithoutGeneratingNewTokens([...tokens, vocabulary - 1] as Token[]);
    t.equal(sequence.nextTokenIndex, 21);
    await context.dispose();
});

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

t.test("clearHistory and adaptStateToTokens leave the logits of a fresh context", async (t) => {
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

t.test("a disposed sequence's id is used again, and begins empty", async (t) => {
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
