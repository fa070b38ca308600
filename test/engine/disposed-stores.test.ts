import {attach} from "llama-deltastore";
import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens} from "../support/engine.js";
import {openTiny} from "../support/tiny-engine.js";

t.setTimeout(120_000);

function createContext(model: LlamaModel, kvCache: string | undefined, options: object = {}): Promise<LlamaContext> {
    return model.createContext({contextSize: 2048, threads: 1, ...(kvCache === undefined ? {} : {kvCache}), ...options});
}

t.test("a disposed store serves the contexts that exist, and no new ones", async (t) => {
    const {llama, store, model} = await openTiny(t);
    const context = await createContext(model, "high", {sequences: 2});
    const [sequence, busy] = [context.getSequence(), context.getSequence()];
    await generate(sequence, randomTokens(50, 1), 2);

    store.dispose();
    store.dispose();
    t.notOk(store.active);
    t.equal((await generate(sequence, randomTokens(5, 2), 5)).length, 5, "contexts that exist go on");
    t.ok(store.stats(context).tokens > 50);
    t.equal(await codeOf(createContext(model, "high")), "DISPOSED");
    const stock = await createContext(model, undefined);
    t.throws(() => store.stats(stock), {code: "OPTION_INVALID"}, "without a tier new ones are stock's");
    await stock.dispose();

    const running = codeOf(generate(busy, randomTokens(500, 3), 500));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await context.dispose();
    await context.dispose();
    t.match(await running, /dispos/i, "a running evaluation ends");
    t.throws(() => store.stats(context), {code: "DISPOSED"});
    t.match(await codeOf(generate(sequence, randomTokens(5, 2), 1)), /dispos/i);
    t.throws(() => context.getSequence(), /dispos/i);

    const again = await attach(llama);
    const packed = await createContext(model, undefined);
    t.match(again.stats(packed), {tokens: 0}, "attached again");
    const next = await attach(llama, {policy: "exact"});
    t.notOk(again.active, "attaching once more replaces the store");
    const exact = await createContext(model, undefined);
    await generate(exact.getSequence(), randomTokens(5, 2), 1);
    t.match(next.stats(exact).sequences, [{tier: "exact"}]);
    t.match(next.stats(packed), {tokens: 0});

    await llama.dispose();
    t.equal(await codeOf(attach(llama)), "DISPOSED");
    t.throws(() => next.stats(exact), {code: "DISPOSED"});
});

t.test("a disposed Llama instance loads no model", async (t) => {
    const llama = await openLlama();
    await attach(llama);
    await llama.dispose();
    t.match(await codeOf(llama.loadModel({modelPath: "none.gguf"})), /dispos/i);
});
