import {attach, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {generate, randomTokens, rejection} from "../support/engine.js";
import {openTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(120_000);

const {llama, model} = await openTiny(t);

const prefix = randomTokens(300, 1), rest = (seed: number) => randomTokens(30, seed).slice(1);

function createContext(kvCache: string) {
    return model.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache});
}

t.test("what happens to a cache is told as it happens", async (t) => {
    const store = await attach(llama, {policy: {
        tiers: {evicting: {format: "k4v2", evict: {keep: 0.5, slack: 128}}}, sharing: {kept: "200KiB"}, pool: {limit: "2MiB"}
    }});
    const events: StoreEvent[] = [];
    const listener = store.onEvent.createListener((event) => {
        events.push(event);
    });
    const context = await createContext("evicting"), other = await createContext("exact");
    const [first, second] = [context.getSequence(), context.getSequence()];
    await generate(first, [...prefix, ...rest(2)], 1);
    const [evicted] = events.splice(0);
    t.match(evicted, {type: "evict", context, sequenceId: 0, tokens: 329});
    t.ok(evicted?.type === "evict" && Math.abs(evicted.kept - 0.5) < 0.05);
    await generate(second, [...prefix, ...rest(3)], 1);
    const [kept, attached] = ["keep", "attach"].map((type) => events.filter((event) => event.type === type));
    t.match([...kept!, ...attached!], [{type: "keep"}, {type: "attach", sequenceId: 1}]);
    events.length = 0;

    for (const seed of [10, 11, 12, 13, 14, 15]) {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, seed));
        sequence.dispose();
        await settled();
    }
    t.match(events.find(({type}) => type === "drop"), {type: "drop", tokens: Number, reason: "budget", context});
    events.length = 0;
    const error = await rejection(other.getSequence().evaluateWithoutGeneratingNewTokens(randomTokens(1000, 4)));
    t.match(error, {code: "POOL_LIMIT_REACHED"});
    t.match(events.filter(({type}) => type === "refuse"), [{type: "refuse", context: other, error}]);
    events.length = 0;
    await store.evict(first, {keep: 1});
    t.strictSame(events, [], "nothing went");
    listener.dispose();
    await store.evict(first, {keep: 0.2});
    t.strictSame(events, [], "nobody listens any more");
    await Promise.all([context.dispose(), other.dispose()]);
});

for (const scope of ["context", "group"] as const) {
    t.test(`groups share among themselves; scope "${scope}"`, async (t) => {
        const store = await attach(llama, {policy: {sharing: {scope}}});
        const context = await createContext("high");
        const attachedTo = async (sequence: LlamaContextSequence, seed: number) => {
            const before = store.stats(context).sharing!.attachedTokens;
            await sequence.evaluateWithoutGeneratingNewTokens([...prefix, ...rest(seed)]);
            return store.stats(context).sharing!.attachedTokens > before;
        };
        t.equal(await attachedTo(context.getSequence({sharingGroup: "a"}), 2), false);
        const ofB = context.getSequence({sharingGroup: "b"});
        t.equal(await attachedTo(ofB, 2), false, "another group's");
        const unnamed = [context.getSequence(), context.getSequence()] as const;
        t.equal(await attachedTo(unnamed[0], 2), false, "nobody's");
        t.equal(await attachedTo(unnamed[1], 3), scope === "context");
        for (const sequence of [ofB, ...unnamed]) sequence.dispose();
        await settled();
        const [again, other] = [context.getSequence({sharingGroup: "b"}), context.getSequence({sharingGroup: "c"})] as const;
        t.equal(await attachedTo(other, 4), false, "a kept prefix is its group's");
        t.equal(await attachedTo(again, 4), true);
        again.dispose();
        await settled();
        t.equal(await attachedTo(context.getSequence(), 5), scope === "context", "a group ends with the sequence");
        for (const sharingGroup of ["", 5, null])
            t.throws(() => context.getSequence({sharingGroup: sharingGroup as string}), {code: "OPTION_INVALID", message: /sharingGroup/});
        await context.dispose();
    });
}
