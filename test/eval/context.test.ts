import {attach} from "llama-deltastore";
import t from "tap";
import {loadTiny} from "../support/tiny-engine.js";
import type {EvalContext as Opened} from "../../dist/eval/context.js";
import type {AddonContext} from "../../dist/runtime/addon.js";
import {handleOf, nativeBinding, openLlama, randomTokens} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {settled} from "../support/waiting.js";

const {EvalContext} = await import(dist("eval/context.js")) as typeof import("../../dist/eval/context.js");
const {reference, resolveCaches} = await import(dist("eval/caches.js")) as typeof import("../../dist/eval/caches.js");
const {withContextLock} = await import(dist("runtime/context-lock.js")) as typeof import("../../dist/runtime/context-lock.js");

const llama = await openLlama();
t.teardown(() => llama.dispose());
const store = await attach(llama), native = await nativeBinding();
const model = await loadTiny(llama);

const steps: Record<string, (context: Opened) => Promise<unknown>> = {
    evaluate: (context) => context.evaluate(randomTokens(20, 2), 1),
    endPrompt: (context) => context.endPrompt(randomTokens(20, 2)),
    moveTo: (context) => context.moveTo(randomTokens(30, 3)),
    copy: (context) => context.copy(0, 1),
    clear: (context) => context.clear()
};

for (const cache of [...resolveCaches(store.policy, ["balanced"]), reference]) t.test(`${cache.name}: each step waits for the context's other users`, async (t) => {
    const context = await model.createContext({...cache.options, contextSize: 512, sequences: 2, threads: 1}), handle = handleOf(context) as AddonContext;
    const positions = () => [0, 1].map((sequence) => handle.getSequenceKvCacheMaxPosition(sequence));
    for (const [step, take] of Object.entries(steps)) {
        const opened = new EvalContext(cache, context, store, native);
        await opened.clear();
        await opened.evaluate(randomTokens(100, 1), 1);
        const before = positions();
        let taking!: Promise<unknown>;
        await withContextLock(context, async () => {
            taking = take(opened);
            await settled(50);
            t.strictSame(positions(), before, `${step} has the context to itself`);
        });
        await taking;
        t.notSame(positions(), before, `${step} is done then`);
        await opened.clear(1);
    }
    await context.dispose();
});
