import {spawnSync} from "node:child_process";
import {copyFileSync, cpSync, readFileSync, rmSync, truncateSync, writeFileSync} from "node:fs";
import {join, relative, resolve} from "node:path";
import {attach, DeltaStoreError, storeOf, type AttachOptions} from "llama-deltastore";
import type {Llama, LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {tinyGguf} from "../support/gguf.js";
import {root} from "../support/paths.js";
import {splitGguf} from "../support/split-gguf.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(120_000);

const modelPath = await tinyModelPath(tinyModel("llama-head-128"));
const small = {contextSize: 256, threads: 1};

// First: nothing was attached in this process yet.
t.test("a tier without a store is an error, and no tier is the stock cache", async (t) => {
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

t.test("isPacked", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const first = await attach(llama, {onUnsupported: "stock"});
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    const packed = await model.createContext({...small, kvCache: "high"});
    const stock = await model.createContext({...small, kvCache: "stock"});
    const store = await attach(llama, {onUnsupported: "stock"});
    t.ok(first.disposed, "attached once more, the store before is disposed");
    const refused = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("mamba")), gpuLayers: 0});
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

t.test("one warning for each cause and store", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const warnings: Error[] = [];
    const collect = (warning: Error) => void warnings.push(warning);
    process.on("warning", collect);
    t.teardown(() => process.off("warning", collect));
    const create = async (name: string, options = {}) => {
        const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel(name)), gpuLayers: 0});
        for (let i = 0; i < 3; i++) await (await model.createContext({...small, ...options})).dispose();
        await new Promise(setImmediate);
    };
    for (const expected of [1, 2]) {
        warnings.length = 0;
        await attach(llama, {onUnsupported: "stock"});
        await create("mamba");
        t.match(warnings, [{code: "DELTASTORE_MODEL_UNSUPPORTED"}], `store ${expected}`);
        await create("llama-head-80");
        t.match(warnings, [{}, {code: "DELTASTORE_MODEL_UNSUPPORTED", message: /80/}], "another message");
        await create("llama-head-128", {flashAttention: false});
        t.match(warnings, [{}, {}, {code: "DELTASTORE_FLASH_ATTENTION_REQUIRED"}], "another code");
        t.equal(warnings.length, 3);
    }
});

t.test("wrong arguments of attach", async (t) => {
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

t.test("a linked clone, which has a node-llama-cpp of its own, says so", (t) => {
    const app = t.testdir({
        "app.mjs": `import {attach} from "llama-deltastore";
            import {getLlama} from "node-llama-cpp";
            const llama = await getLlama({gpu: false, maxThreads: 1, build: "never", logLevel: "error"});
            await attach(llama).catch(({code, message}) => console.log(JSON.stringify({code, message})));
            await llama.dispose();`,
        node_modules: {"llama-deltastore": t.fixture("symlink", resolve(root))}
    });
    const [own, apps] = [root, app].map((folder) => join(folder, "node_modules/node-llama-cpp"));
    cpSync(own!, apps!, {recursive: true});
    const {status, stdout, stderr} = spawnSync(process.execPath, ["app.mjs"], {encoding: "utf8", timeout: 60_000, cwd: app});
    t.equal(status, 0, stderr);
    const {code, message} = JSON.parse(stdout) as {code: string; message: string};
    t.equal(code, "RUNTIME_UNSUPPORTED");
    for (const part of [`another copy of node-llama-cpp, ${apps},`, `llama-deltastore's, ${own}.`, `npm install --install-links ${resolve(root)}\``])
        t.ok(message.includes(part), message);
    t.end();
});

t.test("storeOf in an app that was started with --import llama-deltastore/register", (t) => {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const {status, stdout, stderr} = spawnSync(process.execPath, [
        "--import", "llama-deltastore/register", join(root, "test/fixtures/store-of.mjs"), modelPath
    ], {encoding: "utf8", timeout: 60_000, cwd: root, env});
    t.equal(status, 0, stderr);
    t.match(JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? "null"), {packed: true, stats: {tokens: 0}});
    t.end();
});

t.test("models that can't be loaded", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const original = llama.loadModel;
    const store = await attach(llama);
    const folder = t.testdir({"text.gguf": "This is no model."});
    const [none, cut, changed, nowhere] = ["none.gguf", "cut.gguf", "changed.gguf", "nowhere.gguf"].map((name) => join(folder, name)) as
        [string, string, string, string];
    copyFileSync(modelPath, cut);
    truncateSync(cut, 200_000);
    const whole = readFileSync(modelPath);
    whole[22] = 0xff;  // metadata without end
    writeFileSync(changed, whole);
    writeFileSync(nowhere, tinyGguf());

    const attempts: [string, string][] = [
        [none, "MODEL_NOT_FOUND"], [folder, "MODEL_NOT_FOUND"], ["hf:user/model:Q4_0", "MODEL_NOT_FOUND"],
        [cut, "MODEL_DAMAGED"], [changed, "MODEL_DAMAGED"], [join(folder, "text.gguf"), "MODEL_DAMAGED"]
    ];
    for (const [path, code] of attempts) {
        for (const given of [path, relative(process.cwd(), path)]) {
            const error = await rejection(llama.loadModel({modelPath: given, gpuLayers: 0}));
            t.type(error, DeltaStoreError);
            t.match(error, {code, message: path});
        }
    }
    // Never disposed: its model that failed isn't returned, so openLlama can't hold it, and once collected it would block dispose().
    const failing = await openLlama();
    await attach(failing);
    t.notMatch(await rejection(failing.loadModel({modelPath: nowhere, gpuLayers: 0})), {name: "DeltaStoreError"}, "other failures have their own errors");
    t.notMatch(await rejection(llama.loadModel({modelPath: 4 as unknown as string})), {name: "DeltaStoreError"});
    t.notMatch(await rejection(llama.loadModel(undefined!)), {name: "DeltaStoreError"});

    const parts = splitGguf(modelPath, join(folder, "split"));
    const [model, split] = [await llama.loadModel({modelPath, gpuLayers: 0}), await llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})];
    const texts = [];
    for (const one of [model, split]) {
        const context = await one.createContext({...small, kvCache: "high"});
        texts.push(await generate(context.getSequence(), randomTokens(100, 3), 10));
        await one.dispose();
    }
    t.strictSame(texts[1], texts[0], "a model in parts is the same model");
    truncateSync(parts[1]!, 3000);
    t.match(await rejection(llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})), {code: "MODEL_DAMAGED", message: parts[1]});
    rmSync(parts[1]!);
    t.match(await rejection(llama.loadModel({modelPath: parts[0]!, gpuLayers: 0})), {code: "MODEL_NOT_FOUND", message: parts[1]});

    const again = await attach(llama);
    t.ok(store.disposed);
    t.equal(await codeOf(llama.loadModel({modelPath: none})), "MODEL_NOT_FOUND");
    again.dispose();
    t.equal(llama.loadModel, original, "the original is back");
    t.notMatch(await rejection(llama.loadModel({modelPath: none})), {name: "DeltaStoreError"});

    const third = await attach(llama);
    const own = (llama.loadModel as typeof original).bind(llama);
    llama.loadModel = own;
    third.dispose();
    t.equal(llama.loadModel, own, "another's own method stays");
});

t.test("a disposed Llama instance loads no model", async (t) => {
    const llama = await openLlama();
    await attach(llama);
    await llama.dispose();
    t.match(await codeOf(llama.loadModel({modelPath: "none.gguf"})), /dispos/i);
});
