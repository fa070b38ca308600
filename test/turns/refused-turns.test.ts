import {attach, MemoryStore, type DeltaStore} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import t from "tap";
import {moreTokens, randomTokens, rejection} from "../support/engine.js";
import {nextLogits, sameLogits} from "../support/logits.js";
import {loadTiny} from "../support/tiny-engine.js";
import {openTurnsEngine, policy} from "../support/turns-engine.js";

t.setTimeout(240_000);

const {llama, store, createContext} = await openTurnsEngine(t);

t.test("a turn of another model, format or size is refused, and the sequence stays as it was", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext("high", {contextSize: 2048}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 1));
    await turns.save("c", sequence);
    const [other, sibling] = await Promise.all(["llama-wide-group", "qwen3-norms"].map((name) => loadTiny(llama, name)));
    const refuses = async (code: string, context: LlamaContext, of: DeltaStore = store) => {
        const target = context.getSequence();
        await target.evaluateWithoutGeneratingNewTokens(randomTokens(60, 2));
        const before = of.stats(context), {contextTokens} = target;
        const error = await rejection(turns.restore("c", target));
        t.match(error, {name: "DeltaStoreError", code}, error.message);
        t.strictSame(target.contextTokens, contextTokens);
        t.strictSame(of.stats(context).sequences, before.sequences);
        const twin = context.getSequence();
        await twin.evaluateWithoutGeneratingNewTokens(randomTokens(60, 2));
        sameLogits(t, [await nextLogits(target, moreTokens(5, 3))], [await nextLogits(twin, moreTokens(5, 3))]);
        await context.dispose();
    };
    await refuses("TURN_MODEL_MISMATCH", await createContext("high", {contextSize: 2048}, other));
    await refuses("TURN_MODEL_MISMATCH", await createContext("high", {contextSize: 2048}, sibling));
    await refuses("STATE_FORMAT_MISMATCH", await createContext("exact", {contextSize: 2048}));
    await refuses("STATE_TOO_LARGE", await createContext("high", {contextSize: 1024}));
    const limited = await attach(llama, {policy: {...policy, pool: {limit: 2 ** 20}}});
    await refuses("POOL_LIMIT_REACHED", await createContext("high", {contextSize: 2048}), limited);
    await attach(llama, {policy});

    const exact = await createContext("exact"), source = exact.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    await turns.save("c", source);
    await refuses("STATE_FORMAT_MISMATCH", await createContext("high"));
    for (const one of [context, exact]) await one.dispose();
});
