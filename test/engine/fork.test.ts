import {attach, DeltaStoreError} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, rejection} from "../support/engine.js";
import {nextLogits} from "../support/logits.js";
import {openSharing, prefix, question, sharingTiers} from "../support/sharing.js";
import {unshared} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, createContext} = await openSharing(t);

/** A context whose sequences share nothing by themselves, one that holds the prefix, and one to fork it to. */
async function openFork() {
    const store = await attach(llama, {policy: {tiers: sharingTiers, ...unshared}}), context = await createContext("conservative");
    const source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prefix);
    return {store, context, source, target};
}

t.test("store.fork copies a sequence, whole or up to a token", async (t) => {
    const {store, context, source, target} = await openFork();
    await target.evaluateWithoutGeneratingNewTokens(question(7));
    await store.fork(source, target);
    t.strictSame(target.contextTokens, prefix);
    t.strictSame(await nextLogits(target, question(1)), await nextLogits(source, question(1)));
    await store.fork(source, target, {upTo: 200});
    t.strictSame(target.contextTokens, prefix.slice(0, 200));
    await store.fork(source, target, {upTo: 0});
    t.equal(target.nextTokenIndex, 0);
    t.equal(store.stats(context).sharing, null);
    const empty = context.getSequence(), third = context.getSequence();
    await third.evaluateWithoutGeneratingNewTokens(question(1));
    await store.fork(empty, third);
    t.equal(third.nextTokenIndex, 0);
    t.equal((await generate(third, question(2), 3)).length, 3);
    await context.dispose();
});

t.test("store.fork refuses wrong arguments by name", async (t) => {
    const {store, context, source, target} = await openFork(), other = await createContext("conservative"), foreign = other.getSequence();
    for (const upTo of [-1, 1.5, NaN, 10_000, "5"])
        t.match(await rejection(store.fork(source, target, {upTo: upTo as number})), {code: "OPTION_INVALID", message: `upTo is ${typeof upTo === "string" ? "'5'" : upTo}`});
    t.equal(await codeOf(store.fork(source, foreign)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork({} as LlamaContextSequence, target)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork(source, undefined as unknown as LlamaContextSequence)), "OPTION_INVALID");
    t.equal(await codeOf(store.fork(undefined as unknown as LlamaContextSequence, target)), "OPTION_INVALID");
    for (const options of [null, 100, [], {upto: 3}])
        t.match(await rejection(store.fork(source, target, options as object)), {code: "OPTION_INVALID", message: "upTo"});
    await context.dispose();
    await other.dispose();
});

t.test("store.fork beside a disposal leaves no rows without a sequence, and nothing half done", async (t) => {
    const {store, context, source, target} = await openFork();
    // Disposal takes a while, so either call may be first.
    const third = context.getSequence();
    target.dispose();
    await store.fork(source, target).catch((error: unknown) => t.type(error, DeltaStoreError));
    await settled();
    t.equal(await codeOf(store.fork(source, target)), "DISPOSED");
    t.equal(store.stats(context).sequences.length, 1);
    await third.evaluateWithoutGeneratingNewTokens(question(1));
    source.dispose();
    await store.fork(source, third).catch((error: unknown) => t.type(error, DeltaStoreError));
    await settled();
    t.equal(await codeOf(store.fork(source, third)), "DISPOSED");
    t.strictSame(store.stats(context).sequences.map(({tokens}) => tokens), [third.nextTokenIndex]);
    t.equal((await generate(third, question(2), 3)).length, 3);
    await context.dispose();
});

t.test("an evaluation under way ends when store.fork replaces its sequence", async (t) => {
    const store = await attach(llama, {policy: {tiers: sharingTiers}});
    const context = await createContext("conservative");
    const source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prefix);
    const begin = async (sequence: LlamaContextSequence) => {
        const iterator = sequence.evaluate(question(7), {temperature: 0, yieldEogToken: true});
        await iterator.next();
        return iterator;
    };
    const left = await begin(target);
    await store.fork(source, target);
    t.match(await rejection(left.next()), {code: "OPTION_INVALID", message: /store\.fork/});
    t.strictSame(target.contextTokens, prefix);

    const running = codeOf(generate(target, question(2), 500)), before = target.nextTokenIndex;
    while (target.nextTokenIndex < before + 40) await new Promise(setImmediate);
    await store.fork(source, target);
    t.equal(await running, "OPTION_INVALID");
    t.strictSame(target.contextTokens, prefix);

    const ofSource = await begin(source);
    await begin(target);  // an evaluation that nobody asks for more
    await store.fork(source, target);
    t.notOk((await ofSource.next()).done, "the source's goes on");
    t.equal((await generate(target, question(1), 3)).length, 3, "a new one goes on from the source's tokens");
    await context.dispose();
});
