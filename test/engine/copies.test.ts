import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {randomTokens} from "../support/engine.js";
import {divergence, nextLogits} from "../support/logits.js";
import {openSequences} from "../support/sequences.js";

t.setTimeout(180_000);

const {store, tiny, createContext} = await openSequences(t);

interface Copying {
    _copyStateFromOtherSequence(other: LlamaContextSequence, upTo: number): Promise<boolean>;
}

const copyState = (target: LlamaContextSequence, source: LlamaContextSequence, upTo = source.nextTokenIndex) =>
    (target as unknown as Copying)._copyStateFromOtherSequence(source, upTo);

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

        // Both write on in turns, behind a page that they shared.
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
