import {attach} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {generate, randomTokens} from "../support/engine.js";
import {nextLogits} from "../support/logits.js";
import {openSharing, prefix, question} from "../support/sharing.js";
import {loadTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, store, createContext} = await openSharing(t);

t.test("a prefix outlives its sequence within the budget, and other tokens are not taken for it", async (t) => {
    const context = await createContext("exact", {sequences: 1});
    const first = context.getSequence();
    await nextLogits(first, [...prefix, ...question(1)]);
    first.dispose();
    await settled();
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

t.test("a prefix that was only evaluated is evicted before others take it over", async (t) => {
    for (const ended of [false, true]) {
        const context = await createContext("ultra", {sequences: 2, contextSize: 2048}), [first, second] = [context.getSequence(), context.getSequence()];
        const beginning = randomTokens(1200, 7);
        await first.evaluateWithoutGeneratingNewTokens(beginning);
        if (ended) await first.clearHistory();
        await generate(second, [...beginning, ...question(2)], 1);
        const {sharing, sequences} = store.stats(context);
        t.match(sharing, {attached: 1, attachedTokens: 1200}, `ended: ${ended}`);
        for (const {kept} of sequences.slice(ended ? 1 : 0)) t.ok(kept < 0.5, `kept ${kept}`);
        await context.dispose();
    }
});

t.test("a model with positions of several parts is served in a tier that evicts", async (t) => {
    const model = await loadTiny(llama, "qwen2vl-sections");
    const context = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache: "evicting"});
    const sequence = context.getSequence();
    await nextLogits(sequence, prefix);
    t.ok(store.stats(context).sequences[0]!.kept < 0.8);
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
});
