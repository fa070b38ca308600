import {attach, DeltaStoreError, storeOf, type AttachOptions} from "llama-deltastore";
import type {Llama, LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {loadTiny, openTiny, tinyPath} from "../support/tiny-engine.js";

const {checkRuntime} = await import(dist("runtime/release.js")) as typeof import("../../dist/runtime/release.js");

t.setTimeout(120_000);

const modelPath = await tinyPath();
const small = {contextSize: 256, threads: 1};

// First: nothing was attached in this process yet.
t.test("without a store a tier is an error, and no tier is the stock cache", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    t.equal(storeOf(llama), undefined);
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    for (const kvCache of ["high", "hihg", null as unknown as string]) {
        const error = await rejection(model.createContext({...small, kvCache}));
        t.type(error, DeltaStoreError);
        t.match(error, {code: "NOT_ATTACHED", message: /kvCache is ("high"|"hihg"|null), .*attach\(llama\)/});
    }
    const [unnamed, stock] = [await model.createContext(small), await model.createContext({...small, kvCache: "stock"})];
    for (const context of [unnamed, stock]) t.equal((await generate(context.getSequence(), randomTokens(5, 1), 3)).length, 3);

    const store = await attach(llama);
    t.equal(storeOf(llama), store);
    t.notOk(store.isPacked(unnamed), "what was made before stays stock");
    t.ok(store.isPacked(await model.createContext({...small, kvCache: "high"})));
    store.dispose();
    t.ok(store.disposed);
    t.equal(storeOf(llama), undefined);
    t.match(await rejection(model.createContext({...small, kvCache: "high"})), {code: "DISPOSED", message: /store is disposed/});
    await model.createContext({...small, kvCache: "stock"});
});

t.test("isPacked tells packed contexts from stock ones, whichever store is asked", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const first = await attach(llama, {onUnsupported: "stock"});
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    const packed = await model.createContext({...small, kvCache: "high"});
    const stock = await model.createContext({...small, kvCache: "stock"});
    const store = await attach(llama, {onUnsupported: "stock"});
    t.ok(first.disposed, "attached once more, the store before is disposed");
    const refused = await loadTiny(llama, "mamba");
    const warned = new Promise((resolve) => process.once("warning", resolve));
    const fallback = await refused.createContext({...small, kvCache: "high"});
    await warned;
    for (const one of [first, store])
        t.strictSame([packed, stock, fallback].map((context) => one.isPacked(context)), [true, false, false]);
    for (const context of [stock, fallback]) t.throws(() => store.stats(context), {code: "OPTION_INVALID", message: /stock cache.*isPacked/});
    for (const wrong of [undefined, {}, packed.getSequence()]) {
        t.throws(() => store.isPacked(wrong as LlamaContext), {code: "OPTION_INVALID", message: /LlamaContext is needed/});
        t.throws(() => store.stats(wrong as LlamaContext), {code: "OPTION_INVALID", message: /LlamaContext is needed/});
    }
    await packed.dispose();
    t.ok(store.isPacked(packed), "also when it is disposed");
});

t.test("each cause is warned of once a store", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const warnings: Error[] = [];
    const collect = (warning: Error) => void warnings.push(warning);
    process.on("warning", collect);
    t.teardown(() => process.off("warning", collect));
    const create = async (name: string, options = {}) => {
        const model = await loadTiny(llama, name);
        for (let i = 0; i < 3; i++) await (await model.createContext({...small, ...options})).dispose();
        await new Promise(setImmediate);
    };
    for (const expected of [1, 2]) {
        warnings.length = 0;
        await attach(llama, {onUnsupported: "stock"});
        await create("mamba");
        t.match(warnings, [{code: "DELTASTORE_MODEL_UNSUPPORTED"}], `store ${expected}`);
        await create("llama-head-36");
        t.match(warnings, [{}, {code: "DELTASTORE_MODEL_UNSUPPORTED", message: /36/}], "another message");
        await create("llama-head-128", {flashAttention: false});
        t.match(warnings, [{}, {}, {code: "DELTASTORE_FLASH_ATTENTION_REQUIRED"}], "another code");
        t.equal(warnings.length, 3);
    }
});

t.test("attach refuses wrong arguments by name and touches nothing", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const store = await attach(llama);
    const bindings = (llama as unknown as {_bindings: {AddonContext: unknown}})._bindings;
    const [contextClass, loadModel] = [bindings.AddonContext, llama.loadModel];
    const attempts: [unknown, unknown, RegExp][] = [
        [undefined, undefined, /getLlama\(\).*given was undefined/],
        [null, undefined, /given was null/],
        ["high", undefined, /given was 'high'/],
        [{disposed: false}, undefined, /given was \[Object\]/],
        [Promise.resolve(llama), undefined, /Promise.*await getLlama\(\)/],
        [llama, "conservative", /Write attach\(llama, \{policy: "conservative"\}\)/],
        [llama, null, /second argument is null; .*"policy" and "onUnsupported"/],
        [llama, ["high"], /second argument is \[Array\]/],
        [llama, 4, /second argument is 4/],
        [llama, {polcy: "high"}, /no option "polcy".*"policy" and "onUnsupported".*did you mean "policy"\?/],
        [llama, {policy: "high", onunsupported: "stock"}, /no option "onunsupported".*did you mean "onUnsupported"\?/],
        [llama, {default: "high"}, /no option "default"/],
        [llama, {onUnsupported: "maybe"}, /onUnsupported is 'maybe'; allowed are "error" and "stock"/],
        [llama, {onUnsupported: null}, /onUnsupported is null/],
        [llama, {policy: 5}, /policy is 5; allowed are a policy, .*"exact", "high", .*"aggressive" and "ultra"/],
        [llama, {policy: null}, /policy is null/],
        [llama, {policy: ["high"]}, /policy is \[ 'high' \]/]
    ];
    for (const [given, options, message] of attempts) {
        const error = await rejection(attach(given as Llama, options as AttachOptions));
        t.type(error, DeltaStoreError);
        t.match(error, {code: "OPTION_INVALID", message});
    }
    t.equal(storeOf(llama), store, "nothing is touched");
    t.ok(store.active);
    t.equal(bindings.AddonContext, contextClass);
    t.equal(llama.loadModel, loadModel);
    await attach(llama, {policy: undefined, onUnsupported: undefined} as unknown as AttachOptions);

    class Copy {
        disposed = false;
        llamaCppRelease = llama.llamaCppRelease;
    }
    t.match(await rejection(attach(new Copy() as unknown as Llama)), {code: "RUNTIME_UNSUPPORTED", message: /another copy of node-llama-cpp/});
});

t.test("other runtimes are refused before anything is touched", async (t) => {
    const {llama} = await openTiny(t);
    await checkRuntime(llama);
    const fake = {llamaCppRelease: {release: "b9999", repo: "ggml-org/llama.cpp"}} as unknown as Llama;
    t.match(await rejection(checkRuntime(fake)), {
        code: "RUNTIME_UNSUPPORTED", message: /^node-llama-cpp 3\.22\.1 with llama\.cpp b9999 is served only with the llama\.cpp v0\.5\.0 that it comes with/
    });

    const bindings = {AddonContext: class {}};
    const before = bindings.AddonContext;
    const other = {disposed: false, llamaCppRelease: {release: "b9999"}, _bindings: bindings} as unknown as Llama;
    t.equal(await codeOf(attach(other)), "RUNTIME_UNSUPPORTED");
    t.equal(bindings.AddonContext, before, "its context class is as it was");
    const warning = new Promise<Error>((resolve) => process.once("warning", resolve));
    const store = await attach(other, {onUnsupported: "stock"});
    t.match(await warning, {code: "DELTASTORE_RUNTIME_UNSUPPORTED"});
    t.notOk(store.active);
    t.equal(bindings.AddonContext, before);
});
