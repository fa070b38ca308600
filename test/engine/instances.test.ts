import {readdirSync} from "node:fs";
import {setTimeout as sleep} from "node:timers/promises";
import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, handleOf, nativeBinding, openLlama, randomTokens} from "../support/engine.js";
import {createSmall, instancePrompt, openInstance, referenceTexts} from "../support/instances.js";
import {greedy, logitsOf} from "../support/logits.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(180_000);

const reference = await referenceTexts();

t.test("several Llama instances, models and contexts at once do not disturb each other", async (t) => {
    const [one, two] = [await openInstance(), await openInstance()];
    const second = await loadTiny(one.llama, "qwen2-biases");
    const contexts = [
        await createSmall(one.model, "exact"), await createSmall(one.model, "high"), await createSmall(one.model, "stock"),
        await createSmall(two.model, "high"), await createSmall(second, "high")
    ];
    const texts = await Promise.all(contexts.map((context) => generate(context.getSequence(), instancePrompt, 40)));
    t.strictSame(texts[0], reference.get("exact"));
    t.strictSame(texts[1], reference.get("high"));
    t.strictSame(texts[3], reference.get("high"));
    t.equal(one.store.stats(contexts[0]!).sequences[0]!.tier, "exact");
    t.ok(one.store.stats(contexts[1]!).residentBytes < one.store.stats(contexts[0]!).residentBytes);

    await one.llama.dispose();
    t.strictSame(await generate((await createSmall(two.model, "high")).getSequence(), instancePrompt, 40),
        reference.get("high"), "one instance's end leaves the other");
    await two.llama.dispose();
});

t.test("a context computes with more and with fewer threads than before", async (t) => {
    const {llama, model} = await openInstance();
    t.teardown(() => llama.dispose());
    const native = await nativeBinding();
    const context = await createSmall(model, "high");
    const handle = handleOf(context) as {setThreads(count: number): void};
    const threads = () => readdirSync("/proc/self/task").length;
    const before = threads();
    let expected: number[] | undefined;
    for (const count of [1, 2, 3, 1, 4, 2]) {
        handle.setThreads(count);
        const rows = await logitsOf(native, context, instancePrompt, {batches: [100, 1]});
        native.clearSequence(handle, 0);
        expected ??= rows.map(greedy);
        t.strictSame(rows.map(greedy), expected, `the same predictions with ${count}`);
    }
    t.ok(threads() > before, "it keeps them for the next batch");
    await context.dispose();
    for (let i = 0; i < 100 && threads() !== before; i++) await sleep(50);  // a joined thread leaves the list a little later
    t.equal(threads(), before, "until it is disposed");
});

t.test("contexts, models and instances can be disposed in any order, idle or busy", async (t) => {
    const orders: ((parts: {llama: Awaited<ReturnType<typeof openLlama>>; model: LlamaModel; context: LlamaContext}) => Promise<void>[])[] = [
        ({llama, model, context}) => [context.dispose(), model.dispose(), llama.dispose()],
        ({llama, model, context}) => [llama.dispose(), model.dispose(), context.dispose()],
        ({llama, model, context}) => [model.dispose(), context.dispose(), llama.dispose()],
        ({llama}) => [llama.dispose()]
    ];
    for (const [at, dispose] of orders.entries()) {
        for (const busy of [false, true]) {
            const parts = {...await openInstance()};
            const context = await createSmall(parts.model, "high", {sequences: 2});
            await generate(context.getSequence(), instancePrompt, 3);
            const running = busy ? codeOf(generate(context.getSequence(), randomTokens(500, 62), 100_000)) : undefined;
            if (busy) await sleep(15);
            await Promise.all(dispose({...parts, context}));
            if (running !== undefined) t.match(await running, /dispos/i, `order ${at}: what ran ended`);
            t.ok(context.disposed && parts.model.disposed && parts.llama.disposed, `order ${at}, ${busy ? "busy" : "idle"}`);
            parts.store.dispose();
        }
    }
    const {llama, model} = await openInstance();
    const context = await createSmall(model, "high");
    const sequence = context.getSequence();
    const running = codeOf(generate(sequence, instancePrompt, 10_000));
    await sleep(10);
    await Promise.all([sequence.dispose(), context.dispose()]);
    t.match(await running, /dispos/i);
    t.strictSame(await generate((await createSmall(model, "high")).getSequence(), instancePrompt, 40), reference.get("high"));
    const creating = createSmall(model, "high").then(() => "made", () => "refused");
    await llama.dispose();
    t.match(await creating, /made|refused/, "a context in the making doesn't hang");
});
