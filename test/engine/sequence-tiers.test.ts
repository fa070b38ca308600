import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, randomTokens, rejection} from "../support/engine.js";
import {divergence, nextLogits} from "../support/logits.js";
import {loadTiny, openTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(120_000);

const {llama, store, model} = await openTiny(t, {tiers: {half: {format: "k4v2", evict: {keep: 0.5, slack: 128}}}});

const text = randomTokens(600, 1), question = randomTokens(30, 2).slice(1);

function createContext(kvCache: string, options: object = {}) {
    return model.createContext({contextSize: 1024, sequences: 5, threads: 1, flashAttention: true, batchSize: 256, kvCache, ...options});
}

t.test("sequences of one context have tiers of their own", async (t) => {
    const context = await createContext("high");
    const tiers = [undefined, "exact", "conservative", "compact", "half"] as const;
    const sequences = tiers.map((kvCache) => context.getSequence(kvCache === undefined ? {} : {kvCache}));
    const logits: Float32Array[] = [];
    for (const sequence of sequences) logits.push(await nextLogits(sequence, [...text, ...question]));
    const {sequences: stats, sharing} = store.stats(context);
    t.strictSame(stats.map(({tier}) => tier), ["high", "exact", "conservative", "compact", "half"]);
    t.equal(sharing!.attached, 0, "tiers share nothing with one another");
    const [high, exact, conservative, compact, half] = stats.map(({residentBytes}) => residentBytes) as [number, number, number, number, number];
    t.ok(exact > 2.5 * high && high > conservative && conservative > compact && compact > half, `${[exact, high, conservative, compact, half]}`);
    t.ok(stats[4]!.kept < 0.6);
    const alone = await createContext("exact", {sequences: 1});
    const expected = await nextLogits(alone.getSequence(), [...text, ...question]);
    const distances = logits.map((found) => divergence(expected, found));
    t.ok(distances[1]! < 1e-4 && distances[1]! < distances[0]!, `${distances}`);
    const again = await createContext("conservative", {sequences: 1});
    t.strictSame(await nextLogits(again.getSequence(), [...text, ...question]), logits[2], "as in a context of that tier");
    // Sequences of one tier share, also through a kept prefix.
    for (const sequence of [sequences[0]!, sequences[2]!]) sequence.dispose();
    await settled();
    await nextLogits(context.getSequence({kvCache: "conservative"}), [...text, ...randomTokens(20, 8).slice(1)]);
    t.equal(store.stats(context).sharing!.attached, 1);
    await Promise.all([context, alone, again].map(async (one) => await one.dispose()));
});

t.test("a fork into another tier is nobody's prefix", async (t) => {
    const context = await createContext("high");
    const source = context.getSequence(), target = context.getSequence({kvCache: "exact"});
    await source.evaluateWithoutGeneratingNewTokens(text);
    await store.fork(source, target);
    const alone = await createContext("exact", {sequences: 1});
    const expected = await nextLogits(alone.getSequence(), [...text, ...question]);
    t.ok(divergence(expected, await nextLogits(target, question)) > 1e-4, "the target goes on with the source's rows");
    const other = context.getSequence({kvCache: "exact"});
    t.ok(divergence(expected, await nextLogits(other, [...text, ...question])) < 1e-4, "one of the target's tier evaluates its own");
    t.equal(store.stats(context).sharing!.attached, 0);
    const third = context.getSequence();
    await nextLogits(third, [...text, ...question]);
    t.equal(store.stats(context).sharing!.attached, 1, "one of the source's tier shares");
    await Promise.all([context.dispose(), alone.dispose()]);
});

t.test("setTier makes what a sequence holds smaller, and never finer", async (t) => {
    const context = await createContext("high");
    const sequence = context.getSequence({kvCache: "exact"}), other = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(text);
    const bytes = () => store.stats(context).sequences[0]!.residentBytes;
    const sizes = [bytes()];
    for (const tier of ["high", "conservative", "compact", "half", "exact"]) {
        await store.setTier(sequence, tier);
        t.equal(store.stats(context).sequences[0]!.tier, tier);
        sizes.push(bytes());
    }
    for (const [index, size] of sizes.slice(1, 5).entries()) t.ok(size < sizes[index]!, `${sizes}`);
    t.ok(sizes[1]! < 0.45 * sizes[0]! && sizes[5] === sizes[4], `${sizes}`);
    t.match(store.stats(context).sequences[0], {tokens: 600, kept: Number});
    t.equal((await generate(sequence, question, 10)).length, 10);
    await sequence.eraseContextTokenRanges([{start: 300, end: 400}]);
    t.equal((await generate(sequence, question, 10)).length, 10);

    // A tier changes while another sequence generates.
    const generating = generate(other, text, 40);
    await store.setTier(sequence, "compact");
    t.equal((await generating).length, 40);
    await context.dispose();
});

t.test("a tier that a sequence can't have is refused, and the sequence goes back to its context", async (t) => {
    const context = await createContext("high"), exact = await createContext("exact"), stock = await createContext("stock");
    t.throws(() => context.getSequence({kvCache: "hihg"}), {code: "TIER_UNKNOWN", message: /did you mean "high"/});
    for (const options of [{kvcache: "high"}, {sharinGroup: "a"}])
        t.throws(() => context.getSequence(options as object), {code: "OPTION_INVALID", message: /did you mean/});
    t.throws(() => context.getSequence({kvCache: 5 as unknown as string}), {code: "OPTION_INVALID", message: /^kvCache is 5; allowed are .*"exact".*"ultra"/});
    t.throws(() => stock.getSequence({kvCache: "high"}), {code: "OPTION_INVALID", message: /stock cache/});
    t.throws(() => exact.getSequence({kvCache: "high"}), {code: "OPTION_INVALID", message: /"exact"/});
    await settled();
    t.equal(exact.sequencesLeft, 5, "a sequence that was refused is free again");
    t.doesNotThrow(() => exact.getSequence({kvCache: "exact"}));
    const sequence = context.getSequence();
    t.match(await rejection(store.setTier(sequence, "stock")), {code: "TIER_UNKNOWN"});
    t.equal(await codeOf(store.setTier({} as LlamaContextSequence, "high")), "OPTION_INVALID");
    t.equal(await codeOf(store.setTier(stock.getSequence(), "high")), "OPTION_INVALID");
    for (const name of [null, undefined, 5])
        t.match(await rejection(store.setTier(sequence, name as unknown as string)), {code: "OPTION_INVALID", message: `The tier is ${name}; allowed are "high", "exact"`});
    sequence.dispose();
    t.equal(await codeOf(store.setTier(sequence, "compact")), "DISPOSED");
    const alibi = await loadTiny(llama, "bloom-alibi");
    const positioned = await alibi.createContext({contextSize: 256, kvCache: "high", threads: 1, flashAttention: true});
    t.throws(() => positioned.getSequence({kvCache: "recommended"}), {code: "MODEL_UNSUPPORTED", message: /ALiBi/});
    await settled();
    const plain = positioned.getSequence();
    t.match(await rejection(store.setTier(plain, "recommended")), {code: "MODEL_UNSUPPORTED"});
    t.equal(store.tierOf(plain), "high");
    await generate(plain, randomTokens(20, 3), 2);
    await plain.clearHistory();
    await plain.dispose();
    t.equal(positioned.sequencesLeft, 1, "what it could not have is forgotten");
    t.throws(() => context.getSequence({kvCache: "stock"} as object), {code: "TIER_UNKNOWN", message: /allowed are "exact", .* and "half"\.$/});
    await Promise.all([context, exact, stock, positioned].map(async (one) => await one.dispose()));
});
