import {attach, MemoryStore} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openTurnsEngine, policy, prompt, sequenceOf, tiers} from "../support/turns-engine.js";

t.setTimeout(240_000);

const {llama, createContext} = await openTurnsEngine(t);

t.test("a restored sequence begins with its first tier, or keeps the tier that the app chose", async (t) => {
    const ruled = await attach(llama, {policy: {sharing: {automatic: false}, rules: [{tokens: 300, tier: "conservative"}]}});
    const turns = await ruled.openTurns({store: new MemoryStore()}), context = await createContext("high");
    const [small, large, chosen] = [context.getSequence(), context.getSequence(), context.getSequence()];
    await nextLogits(small, randomTokens(100, 1));
    await turns.save("c", small);
    await nextLogits(large, prompt);
    await ruled.setTier(chosen, "compact");
    await nextLogits(chosen, prompt);
    t.equal(ruled.tierOf(large), "conservative");
    for (const target of [large, chosen]) await turns.restore("c", target);
    t.strictSame([large, chosen].map((one) => ruled.tierOf(one)), ["high", "compact"]);
    sameLogits(t, await goOn(large, 3, [1, 30, 60]), await goOn(small, 3, [1, 30, 60]));
    await context.dispose();
});

t.test("rows that are restored into the tier of a rule are evicted as that tier does", async (t) => {
    const ruled = await attach(llama, {policy: {...policy, rules: [{tokens: 300, tier: "evicting"}]}});
    const turns = await ruled.openTurns({store: new MemoryStore()}), contexts = [await createContext("high"), await createContext("high")] as const;
    const [source, target] = contexts.map((one) => one.getSequence()) as [LlamaContextSequence, LlamaContextSequence];
    await nextLogits(source, prompt);
    await nextLogits(source, moreTokens(30, 2));
    await turns.save("c", source);
    const changes: unknown[] = [];
    ruled.onEvent.createListener(({type, context, ...event}) => { if (type === "tier") changes.push([context === contexts[1], event]); });
    await turns.restore("c", target);
    t.match(changes, [[true, {tier: "evicting", before: "high", reason: "rule"}]]);
    sameLogits(t, await goOn(target, 3, [60, 60, 60, 60]), await goOn(source, 3, [60, 60, 60, 60]));
    t.ok(ruled.stats(contexts[1]).sequences[0]!.kept < 1);

    // Rows of another tier are repacked for the rule's.
    const plain = await attach(llama, {policy}), context = await createContext("high"), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("plain", sequence);
    await target.clearHistory();
    await turns.restore("plain", target);
    t.equal(ruled.tierOf(target), "evicting");
    t.ok(ruled.stats(contexts[1]).residentBytes < 0.8 * plain.stats(context).residentBytes);
    for (const one of [...contexts, context]) await one.dispose();
});

t.test("restored rows are shared with other sequences of their tier, and with no other", async (t) => {
    const sharing = await attach(llama, {policy: {tiers}});
    const turns = await sharing.openTurns({store: new MemoryStore()}), context = await createContext("high"), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("c", sequence);
    const other = await createContext("high"), [target, second, third] = [other.getSequence(), other.getSequence(), sequenceOf(other, "conservative")];
    t.match(await turns.restore("c", target), {evaluated: 0});
    const question = moreTokens(40, 3), expected = await nextLogits(sequence, question);
    sameLogits(t, [await nextLogits(second, [...prompt, ...question])], [expected]);
    t.match(sharing.stats(other).sharing, {attached: 1, attachedTokens: 500});
    await turns.restore("c", third);
    const fourth = sequenceOf(other, "conservative");
    await nextLogits(fourth, [...prompt, ...question]);
    t.match(sharing.stats(other).sharing, {attached: 1}, "rows of another tier are not");
    for (const one of [context, other]) await one.dispose();
});
