import type {PolicyFile} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {generate, randomTokens, rejection} from "../support/engine.js";
import {openPolicies} from "../support/policies.js";
import {loadTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(120_000);

const {llama, open} = await openPolicies(t);

t.test("rules give sequences tiers by name and length", async (t) => {
    const policy: PolicyFile = {
        tiers: {half: {format: "k4v2", evict: {keep: 0.5, slack: 128}}},
        rules: [{name: "batch-*", tokens: 300, tier: "half"}, {name: "batch-*", tier: "compact"}, {name: "vip", tier: "exact"}, {tokens: 500, tier: "conservative"}]
    };
    const {store, context, events, tierOf} = await open(policy);
    const batch = context.getSequence({name: "batch-7"}), plain = context.getSequence(), vip = context.getSequence({name: "vip"});
    const chosen = context.getSequence({name: "batch-8", kvCache: "high"}), other = context.getSequence({name: "vips"});
    t.strictSame([batch, plain, vip, chosen, other].map(tierOf), ["compact", "high", "exact", "high", "high"]);
    t.strictSame(events, [], "a sequence's first tier is no change");

    await generate(batch, randomTokens(250, 1), 1);
    t.equal(tierOf(batch), "compact");
    await generate(batch, randomTokens(80, 2).slice(1), 1);
    t.match(events.splice(0), [{type: "tier", sequenceId: 0, tier: "half", before: "compact", reason: "rule"}, {type: "evict", sequenceId: 0}]);
    t.ok(store.stats(context).sequences[0]!.kept < 0.6);
    for (const sequence of [plain, vip, chosen]) await generate(sequence, randomTokens(600, 3), 2);
    t.strictSame([plain, vip, chosen].map(tierOf), ["conservative", "exact", "high"]);
    t.match(events.splice(0), [{type: "tier", sequenceId: 1, reason: "rule"}]);
    t.equal((await generate(plain, randomTokens(10, 4).slice(1), 5)).length, 5);

    await plain.clearHistory();
    await batch.clearHistory();
    t.strictSame([batch, plain].map(tierOf), ["compact", "high"], "an emptied one begins anew");
    await store.setTier(plain, "compact");
    t.match(events.splice(0), [{type: "tier", sequenceId: 1, tier: "compact", before: "high", reason: "call"}]);
    await generate(plain, randomTokens(600, 5), 1);
    await plain.clearHistory();
    t.equal(tierOf(plain), "compact", "what the app chose stays");
    const {_sequenceId: number} = batch as unknown as {_sequenceId: number};
    batch.dispose();
    await settled();
    const rest = Array.from({length: context.sequencesLeft}, () => context.getSequence());
    const heir = rest.find((sequence) => (sequence as unknown as {_sequenceId: number})._sequenceId === number)!;
    t.equal(tierOf(heir), "high", "a name goes with its sequence");
    await context.dispose();

    const exact = await open(policy, {kvCache: "exact"});
    const named = exact.context.getSequence({name: "batch-1"});
    await generate(named, randomTokens(600, 6), 1);
    t.equal(exact.tierOf(named), "exact", "a context of an F16 tier heeds only rules with such tiers");
    await exact.context.dispose();
});

t.test("a rule that a model can't follow is told when the context is created, and a wrong name at once", async (t) => {
    const {store, context} = await open({rules: [{tokens: 500, tier: "recommended"}]});
    const error = await rejection((await loadTiny(llama, "bloom-alibi")).createContext({contextSize: 256, threads: 1, flashAttention: true}));
    t.match(error, {code: "MODEL_UNSUPPORTED", message: /ALiBi/});
    for (const name of ["", 5, null]) t.throws(() => context.getSequence({name} as object), {code: "OPTION_INVALID", message: /^name is /});
    t.throws(() => context.getSequence({nmae: "a"} as object), {code: "OPTION_INVALID", message: /did you mean "name"/});
    const sequence = context.getSequence();
    t.equal(store.tierOf(sequence), "high");
    t.throws(() => store.tierOf({} as LlamaContextSequence), {code: "OPTION_INVALID"});
    await context.dispose();
});

t.test("setting the tier that a sequence has ends no sharing", async (t) => {
    const {store, context} = await open({sharing: {automatic: true}});
    const first = context.getSequence(), second = context.getSequence(), text = randomTokens(600, 1);
    await first.evaluateWithoutGeneratingNewTokens(text);
    await store.setTier(first, "high");
    await generate(second, text, 1);
    t.equal(store.stats(context).sharing!.attached, 1);
    await context.dispose();
});

t.test("work on an idle sequence gets its turn while another generates without a pause", async (t) => {
    const {store, context, tierOf} = await open({});
    const busy = context.getSequence(), other = context.getSequence();
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(400, 1));
    let done = false;
    const generating = generate(busy, randomTokens(10, 2), 600).then(() => {
        done = true;
    });
    await store.setTier(other, "compact");
    await store.evict(other, {keep: 0.5, scorer: "recency"});
    t.equal(tierOf(other), "compact");
    const left = context.sequencesLeft;
    await other.dispose();
    t.equal(context.sequencesLeft, left + 1, "its number is free again");
    t.equal(done, false);
    await generating;
    await context.dispose();
});
