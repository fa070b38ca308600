import {readFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {openLlama} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

const {reportModel} = await import(dist("store/model-report.js")) as typeof import("../../dist/store/model-report.js");
const {builtInTiers} = await import(dist("policy/tiers.js")) as typeof import("../../dist/policy/tiers.js");

t.setTimeout(300_000);

const llama = await openLlama();
t.teardown(() => llama.dispose());

const report = (path: string) => reportModel(path, builtInTiers.get("high")!);

const served = [
    ["llama-head-128", "attention", {all: 3, attention: 3, window: 0, recurrent: 0}, 0],
    ["bloom-alibi", "attention", {all: 3, attention: 3, window: 0, recurrent: 0}, 1],
    ["deepseek2-latent", "latent", {all: 3, attention: 3, window: 0, recurrent: 0}, 1],
    ["deci-layer-without-attention", "attention", {all: 3, attention: 2, window: 0, recurrent: 0}, 1],
    ["gemma4-shared", "window", {all: 9, attention: 2, window: 4, recurrent: 0}, 5],
    ["lfm2", "hybrid", {all: 4, attention: 2, window: 0, recurrent: 2}, 5],
    ["qwen35", "hybrid", {all: 4, attention: 2, window: 0, recurrent: 2}, 5]
] as const;
for (const [name, kind, layers, limits] of served)
    t.test(`the memory of ${name} is known`, async (t) => {
        const model = await report(await tinyPath(name));
        t.match(model, {supported: true, code: null, reason: null, memory: {name: kind}, layers, trainedTokens: 8192});
        t.equal(model.limits.length, limits);
        t.strictSame(model.memoryBytes.map(({tokens}) => tokens), [8192, 32768, 131072]);
        for (const {stockBytes, bytesBeside, tiers} of model.memoryBytes) {
            t.strictSame(Object.keys(tiers), name === "bloom-alibi" ? ["high", "conservative"] : ["high", "conservative", "recommended"]);
            const {high = 0, conservative = 0, recommended = bytesBeside + 1} = tiers;
            t.ok(stockBytes > high && conservative > recommended && recommended > bytesBeside);
            if (kind !== "latent") t.ok(high > conservative, "values have fewer bits; latent ones none of their own");
            t.equal(bytesBeside > 0, kind === "hybrid");
        }
    });

const refused = [
    ["grok-soft-cap", "attention", "FLASH_ATTENTION_REQUIRED"], ["lfm2-window", "hybrid-window", "MODEL_UNSUPPORTED"],
    ["mamba", "recurrent", "MODEL_UNSUPPORTED"]
] as const;
for (const [name, kind, code] of refused)
    t.test(`it is told why ${name} is refused`, async (t) => {
        t.match(await report(await tinyPath(name)), {supported: false, code, reason: /./, memory: {name: kind}, memoryBytes: [], limits: []});
    });

/** A model whose metadata have another value of the same length at a key. */
function changed(path: string, key: string, value: number): Buffer {
    const bytes = Buffer.from(readFileSync(path)), at = bytes.indexOf(key);
    bytes.writeUInt32LE(value, at + key.length + 4);
    return bytes;
}

t.test("files that llama.cpp can't load are errors, and end no process of ours", async (t) => {
    const path = await tinyPath(), whole = readFileSync(path).toString("latin1");
    const folder = t.testdir({
        "unknown.gguf": Buffer.from(whole.replace(/(general\.architecture.{12})llama/s, "$1lamal"), "latin1"),
        "layers.gguf": changed(path, "llama.block_count", 100_000), "width.gguf": changed(path, "llama.embedding_length", 128 + 32), "text.gguf": "hello"
    });
    const wrong: [string, RegExp][] = [
        ["unknown.gguf", /llama\.cpp can't load it: .*unknown model architecture: 'lamal'/],
        ["layers.gguf", /llama\.cpp ends its process \(SIGABRT\) on its header: .*assert/i],
        ["width.gguf", /llama\.cpp can't load it: .*wrong shape/], ["text.gguf", /llama\.cpp can't load it: /]
    ];
    for (const [name, message] of wrong) await t.rejects(report(join(folder, name)), {code: "MODEL_UNSUPPORTED", message}, name);
});
