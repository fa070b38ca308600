import {readFileSync} from "node:fs";
import {join} from "node:path";
import {fileURLToPath} from "node:url";
import {attach, DeltaStoreError} from "llama-deltastore";
import type {LlamaModel} from "node-llama-cpp";
import t from "tap";
import {openLlama, rejection} from "../support/engine.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(120_000);

const evaluator = fileURLToPath(new URL("./evaluator/", import.meta.resolve("node-llama-cpp")));
const source = (file: string) => readFileSync(join(evaluator, file), "utf8");

/** Names of a type's properties, as node-llama-cpp declares them. */
function propertiesOf(file: string, type: string): string[] {
    const [, body] = new RegExp(`export type ${type} = \\{\\n(.*?)\\n\\};`, "s").exec(source(file))!;
    return [...body!.matchAll(/^ {4}(\w+)\??:/gm)].map(([, name]) => name!);
}

const contextOptions = propertiesOf("LlamaContext/types.d.ts", "LlamaContextOptions");
const internalOptions = [...new Set(source("LlamaContext/LlamaContext.js").match(/(?<=options\.)_\w+|(?<=experimentalKvCacheValueType, )_embeddings, _ranking/g))]
    .flatMap((names) => names.split(", "));
const decisionOptions = propertiesOf("LlamaDecisionContext/LlamaDecisionContext.d.ts", "LlamaDecisionContextOptions");
const small = {contextSize: 256, threads: 1};
const modelPath = await tinyPath();

async function open(attached: boolean) {
    const llama = await openLlama(), store = attached ? await attach(llama) : null;
    return {llama, store, model: await llama.loadModel({modelPath, gpuLayers: 0})};
}

const methods = ["createContext", "createDecisionContext"] as const;

function create(model: LlamaModel, method: typeof methods[number], options: object): Promise<unknown> {
    return method === "createContext" ? model.createContext({...small, ...options}) : model.createDecisionContext({...small, ...options});
}

for (const attached of [false, true]) {
    const where = attached ? "with a store" : "without a store";
    t.test(`${where}: a misspelled kvCache is told`, async (t) => {
        const {llama, model} = await open(attached);
        t.teardown(() => llama.dispose());
        for (const method of methods) {
            for (const name of ["kvcache", "KVCache", "kvCach", "kv_cache", "kvChace"]) {
                const error = await rejection(create(model, method, {[name]: "exact"}));
                t.type(error, DeltaStoreError);
                t.match(error, {code: "OPTION_INVALID", message: `${method} has no option "${name}" (did you mean "kvCache"?)`});
            }
        }
    });

    t.test(`${where}: no option of node-llama-cpp's own is refused`, async (t) => {
        const {llama, model} = await open(attached);
        t.teardown(() => llama.dispose());
        for (const name of ["contextSize", "experimentalKvCacheKeyType", "performanceTracking"]) t.ok(contextOptions.includes(name), name);
        for (const name of ["_embeddings", "_ranking"]) t.ok(internalOptions.includes(name), name);
        for (const name of ["chatWrapper", "parallelQuestions"]) t.ok(decisionOptions.includes(name), name);
        const unset = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, undefined]));
        await (await model.createContext({...unset([...contextOptions, ...internalOptions]), ...small})).dispose();
        await (await model.createDecisionContext({...unset(decisionOptions), ...small})).dispose();
    });
}

t.test("a kvCache of another type is told, and what it may be", async (t) => {
    const {llama, model} = await open(true);
    t.teardown(() => llama.dispose());
    const wrong: [unknown, RegExp][] = [
        [null, /kvCache is null; allowed are "exact", "high", .*"ultra" and "stock"/], [4, /kvCache is 4; allowed are "exact"/], [10n, /kvCache is 10n; allowed/],
        [true, /kvCache is true; allowed/], [["high"], /kvCache is \[ 'high' \]; allowed/], [{tier: "high"}, /kvCache is \{ tier: 'high' \}; allowed/],
        [() => "high", /kvCache is \[Function.*; allowed/], [Symbol("high"), /kvCache is Symbol\(high\); allowed/]
    ];
    const attempts = (model: LlamaModel, kvCache: unknown) => Promise.all(methods.map(async (method) => await rejection(create(model, method, {kvCache}))));
    for (const [kvCache, message] of wrong)
        for (const error of await attempts(model, kvCache)) t.match(error, {name: "DeltaStoreError", code: "OPTION_INVALID", message});

    const bare = await open(false);
    t.teardown(() => bare.llama.dispose());
    for (const [kvCache, given] of [[null, "null"], [10n, "10n"], [Symbol("high"), "Symbol(high)"]])
        for (const error of await attempts(bare.model, kvCache))
            t.match(error, {name: "DeltaStoreError", code: "NOT_ATTACHED", message: `kvCache is ${String(given)}, but`});
});
