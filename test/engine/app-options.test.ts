import {spawnSync} from "node:child_process";
import {writeFileSync} from "node:fs";
import {join} from "node:path";
import {attach, type AttachOptions, type PolicyFile} from "llama-deltastore";
import {GgmlType, type Llama, type LlamaContextOptions, type LlamaModelOptions} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {demoModelPath, f16ModelPath} from "../support/f16-model.js";
import {root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(180_000);

const small = {contextSize: 256, threads: 1};
const {F16, Q8_0} = GgmlType;
const path = await tinyPath();
const q8: LlamaContextOptions = {experimentalKvCacheKeyType: "Q8_0", experimentalKvCacheValueType: "Q8_0"};
const f16: LlamaContextOptions = {experimentalKvCacheKeyType: "F16", experimentalKvCacheValueType: "F16"};
const q8ByDefault: Partial<LlamaModelOptions> = {experimentalDefaultContextKvCacheKeyType: "Q8_0", experimentalDefaultContextKvCacheValueType: "Q8_0"};

async function open(t: Test, options: AttachOptions = {}) {
    const llama = await openLlama(), warnings: Error[] = [], collect = (warning: Error) => void warnings.push(warning);
    process.on("warning", collect);
    t.teardown(async () => {
        process.off("warning", collect);
        await llama.dispose();
    });
    return {llama, warnings, store: await attach(llama, options)};
}

const load = (llama: Llama, options: Partial<LlamaModelOptions> = {}) => llama.loadModel({modelPath: path, gpuLayers: 0, ...options});
const typesOf = ({kvCacheKeyType, kvCacheValueType}: {kvCacheKeyType: GgmlType; kvCacheValueType: GgmlType}) => [kvCacheKeyType, kvCacheValueType];

t.test("cache types beside a tier that can't have them are an error", async (t) => {
    const {llama, warnings} = await open(t), model = await load(llama), quantized = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
    const attempts: [object, RegExp][] = [
        [q8, /^experimentalKvCacheKeyType is "Q8_0", .* the tier "high" .*kvCache: "stock"/], [{...q8, kvCache: "exact"}, /"Q8_0", .* the tier "exact"/],
        [{experimentalKvCacheValueType: "Q4_0"}, /^experimentalKvCacheValueType is "Q4_0"/], [{experimentalKvCacheKeyType: 8}, /is "Q8_0"/],
        [{experimentalKvCacheKeyType: "Q8_O"}, /is "Q8_O"/], [{experimentalKvCacheKeyType: {}}, /is \{\}/],
        [f16, /is "F16", .* the tier "high"/], [{...f16, kvCache: "high"}, /is "F16", .* the tier "high"/],
        [{experimentalKvCacheKeyType: "currentQuant", kvCache: "high"}, /is "currentQuant"/], [{experimentalKvCacheKeyType: 0}, /is "F32"/]
    ];
    for (const [options, message] of attempts)
        t.match(await rejection(model.createContext({...small, ...options})), {name: "DeltaStoreError", code: "KV_CACHE_TYPE_CONFLICT", message});
    for (const kvCache of [undefined, "exact"] as const)
        t.match(await rejection(quantized.createContext({...small, experimentalKvCacheValueType: "currentQuant", ...kvCache && {kvCache}})), {
            code: "KV_CACHE_TYPE_CONFLICT", message: /ValueType is "currentQuant"/
        });
    const unset = {experimentalKvCacheKeyType: undefined, experimentalKvCacheValueType: null} as unknown as LlamaContextOptions;
    await (await model.createContext({...small, ...unset, kvCache: "high"})).dispose();
    t.strictSame(warnings, []);
});

t.test("F16 goes with a tier that keeps rows F16", async (t) => {
    const {llama, store} = await open(t, {policy: "exact"}), model = await load(llama);
    const half = await load(llama, {experimentalDefaultContextKvCacheKeyType: "F16", experimentalDefaultContextKvCacheValueType: "F16"});
    for (const options of [f16, {...f16, kvCache: "exact"}, {experimentalKvCacheKeyType: F16}])
        t.ok(store.isPacked(await model.createContext({...small, ...options})), JSON.stringify(options));
    const weights = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
    t.ok(store.isPacked(await weights.createContext({...small, experimentalKvCacheKeyType: "currentQuant"})), "as these weights are");
    const high = await half.createContext({...small, kvCache: "high"});
    t.ok(store.isPacked(high), "a model's default F16 is as no type");
    t.strictSame(typesOf(high), [F16, F16]);
});

t.test("a model's own default cache types are an error without a tier, and give way to one", async (t) => {
    const {llama, store} = await open(t);
    const [both, values, quants] = [await load(llama, q8ByDefault), await load(llama, {experimentalDefaultContextKvCacheValueType: "Q8_0"}),
        await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0, experimentalDefaultContextKvCacheKeyType: "currentQuant"})];
    for (const [model, message] of [
        [both, /^loadModel's experimentalDefaultContextKvCacheKeyType is "Q8_0", .*kvCache: "stock".*kvCache: "high"/],
        [values, /^loadModel's experimentalDefaultContextKvCacheValueType is "Q8_0"/], [quants, /KeyType is "Q\d_/]
    ] as const) {
        for (const creating of [model.createContext(small), model.createDecisionContext(small)])
            t.match(await rejection(creating), {name: "DeltaStoreError", code: "KV_CACHE_TYPE_CONFLICT", message});
        const packed = await model.createContext({...small, kvCache: "high"});
        t.ok(store.isPacked(packed), "a tier says more of the context than they do");
        t.strictSame(typesOf(packed), [F16, F16], "which doesn't claim them");
        t.equal((await generate(packed.getSequence(), randomTokens(100, 1), 3)).length, 3);
        await packed.dispose();
    }
    t.strictSame(typesOf(await both.createContext({...small, kvCache: "stock"})), [Q8_0, Q8_0]);
    t.match(await codeOf(both.createContext({...small, ...f16})), "KV_CACHE_TYPE_CONFLICT");
    await both.createEmbeddingContext(small);
});

t.test("onUnsupported \"stock\" keeps what the app chose, with one warning a cause", async (t) => {
    const {llama, store, warnings} = await open(t, {onUnsupported: "stock"}), model = await load(llama), withDefaults = await load(llama, q8ByDefault);
    const withoutFlash = await load(llama, {defaultContextFlashAttention: false});
    const told = async (code: string) => {
        await new Promise(setImmediate);
        t.match(warnings.splice(0), [{code: `DELTASTORE_${code}`, message: /^llama-deltastore uses the stock cache: /}], code);
    };
    for (let round = 0; round < 3; round++) {
        const context = await withDefaults.createContext(small), decisions = await withDefaults.createDecisionContext(small);
        for (const one of [context, decisions]) t.notOk(store.isPacked(one));
        t.strictSame(typesOf(context), [Q8_0, Q8_0]);
        for (const one of [context, decisions]) await one.dispose();
    }
    await told("KV_CACHE_TYPE_CONFLICT");
    for (let round = 0; round < 3; round++) {
        const context = await model.createContext({...small, ...q8});
        t.notOk(store.isPacked(context));
        t.strictSame(typesOf(context), [Q8_0, Q8_0]);
        t.equal((await generate(context.getSequence(), randomTokens(20, 1), 3)).length, 3);
        await context.dispose();
    }
    await told("KV_CACHE_TYPE_CONFLICT");
    for (const creating of [model.createContext({...small, flashAttention: false}), withoutFlash.createContext(small)]) {
        const context = await creating;
        t.notOk(store.isPacked(context));
        t.equal(context.flashAttention, false);
    }
    await told("FLASH_ATTENTION_REQUIRED");
    t.equal(await codeOf(model.createContext({...small, ...q8, kvCache: "high"})), "KV_CACHE_TYPE_CONFLICT", "what contradicts itself stays an error");

    const refused = await llama.loadModel({...q8ByDefault, modelPath: await tinyPath("lfm2-window"), gpuLayers: 0});
    const context = await refused.createContext({...small, kvCache: "high"});
    t.notOk(store.isPacked(context));
    t.strictSame(typesOf(context), [Q8_0, Q8_0], "where no tier can be had, the model's types are");
    t.equal((await generate(context.getSequence(), randomTokens(20, 1), 3)).length, 3);
    await told("MODEL_UNSUPPORTED");
    t.ok(store.isPacked(await model.createContext(small)), "others are packed");
});

interface Attempt {
    path: string;
    load?: Partial<LlamaModelOptions>;
    create?: LlamaContextOptions & {kvCache?: string};
}

/** The caches of an app that was started with --import llama-deltastore/register. Each context is created twice. */
function runApp(t: Test, attempts: Attempt[], policy: PolicyFile) {
    const file = join(t.testdir(), "policy.json");
    writeFileSync(file, JSON.stringify(policy));
    const {status, stdout, stderr} = spawnSync(process.execPath, [
        "--import", "llama-deltastore/register", join(root, "test/fixtures/own-cache.mjs"), JSON.stringify(attempts)
    ], {encoding: "utf8", timeout: 120_000, cwd: root, env: {...process.env, DELTASTORE_POLICY: file}});
    t.equal(status, 0, stderr);
    const {results, codes} = JSON.parse(/^\{.*\}$/m.exec(stdout)![0]) as {results: object[]; codes: string[]};
    return {results: attempts.map((_, at) => results.slice(2 * at, 2 * at + 2)), codes};
}

for (const onUnsupported of ["error", "stock"] as const) {
    t.test(`an app that knows nothing keeps the cache that it chose, with onUnsupported "${onUnsupported}"`, async (t) => {
        const mamba = await tinyPath("mamba");
        const {results, codes} = runApp(t, [
            {path}, {path, create: q8}, {path, create: f16}, {path, load: q8ByDefault}, {path, create: {flashAttention: false}},
            {path, load: {defaultContextFlashAttention: false}}, {path, create: {...q8, kvCache: "high"}}, {path: mamba}, {path: mamba, create: q8},
            {path, create: {kvCache: "high", flashAttention: false}}, {path: mamba, create: {flashAttention: false}}
        ], {onUnsupported});
        const [packed, chosen, exact, byDefault, off, offByDefault, contradicting, unsupported, chosenThere, asked, offThere] = results;
        const twice = (what: object) => [what, what], stock = (what: object) => twice({packed: false, ...what});
        t.match(packed, twice({packed: true, key: F16, value: F16}));
        t.match(chosen, stock({key: Q8_0, value: Q8_0, flashAttention: "auto"}));
        t.match(exact, stock({key: F16, value: F16, flashAttention: "auto"}), "F16, too, if it asked for that");
        t.match(byDefault, stock({key: Q8_0, value: Q8_0, flashAttention: "auto"}));
        for (const one of [off, offByDefault]) t.match(one, stock({key: F16, value: F16, flashAttention: false}));
        t.match(contradicting, twice({code: "KV_CACHE_TYPE_CONFLICT"}), "a tier of its own makes it an app that knows");
        t.match(chosenThere, stock({key: Q8_0, value: Q8_0}));
        const refused = onUnsupported === "error";
        for (const one of [unsupported, offThere]) t.match(one, refused ? twice({code: "MODEL_UNSUPPORTED"}) : stock({key: F16}), "the rest is as the policy says");
        t.match(asked, refused ? twice({code: "FLASH_ATTENTION_REQUIRED"}) : stock({flashAttention: false}));
        const warned = (code: string) => codes.filter((one) => one === `DELTASTORE_${code}`).length;
        t.strictSame([warned("KV_CACHE_TYPE_CONFLICT"), warned("FLASH_ATTENTION_REQUIRED"), warned("MODEL_UNSUPPORTED")], [3, 1, refused ? 0 : 1],
            "one warning a cause: the app's Q8_0, its F16, the model's Q8_0");
    });
}

t.test("a model that forbids flash attention is not the app's choice", async (t) => {
    const grok = await tinyPath("grok-soft-cap");
    const {results} = runApp(t, [{path: grok}, {path: grok, create: {flashAttention: false}}], {onUnsupported: "error"});
    for (const one of results.flat()) t.match(one, {code: "FLASH_ATTENTION_REQUIRED"});
});
