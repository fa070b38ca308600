/**
 * KL divergence of each cache from stock's F16 cache, on F16 weights: `npm run bench:quality -- [--chunks N] [--out FILE]`.
 *
 * window: chunks of 1,024 tokens, the first 512 evaluated as a prompt, the next 512 scored in batches of 16.
 * worst:  chunks of 512 tokens in one batch, the second half scored; our tiers with window 0, so that every row is packed before
 *         any query sees it.
 * One more chunk goes first and is not scored: the vectors that are taken from keys come from it.
 */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {parseArgs} from "node:util";
import {getLlama, type LlamaContext, type LlamaModel} from "node-llama-cpp";
import {f16Model} from "../support/f16-model.js";
import {dist, root} from "../support/package.js";
import {Divergence, type DivergenceSummary} from "./divergence.js";

const {attach} = await dist("index.js");
const {loadNative} = await dist("load-native.js");

const {values} = parseArgs({options: {chunks: {type: "string"}, out: {type: "string"}, threads: {type: "string", default: "2"}}});

interface Protocol {
    name: string;
    chunkTokens: number;
    promptTokens: number;
    batch: number;
    chunks: number;
    caches: Record<string, object>;
}

const stock = {kvCache: "stock"};
const stockCaches = {
    "stock F16, plain attention": {...stock, flashAttention: false},
    "stock Q8_0": {...stock, experimentalKvCacheKeyType: "Q8_0", experimentalKvCacheValueType: "Q8_0"},
    "stock Q4_0": {...stock, experimentalKvCacheKeyType: "Q4_0", experimentalKvCacheValueType: "Q4_0"}
};
const protocols: Protocol[] = [
    {
        name: "window", chunkTokens: 1024, promptTokens: 512, batch: 16, chunks: 4,
        caches: {...stockCaches, exact: {kvCache: "exact"}, high: {kvCache: "high"}, conservative: {kvCache: "conservative"}}
    },
    {
        name: "worst", chunkTokens: 512, promptTokens: 256, batch: 256, chunks: 12,
        caches: {...stockCaches, exact: {kvCache: "exact"}, "high, window 0": {kvCache: "k4v4-w0"}, "conservative, window 0": {kvCache: "k4v2-w0"}}
    }
];

const llama = await getLlama({gpu: false, maxThreads: Number(values.threads)});
using _store = await attach(llama, {policy: {tiers: {"k4v4-w0": {format: "k4v4", window: 0}, "k4v2-w0": {format: "k4v2", window: 0}}}});
const native = await loadNative();
const model = await llama.loadModel({modelPath: await f16Model(native), gpuLayers: 0});
const text = readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8");
const tokens = model.tokenize(text);

/** Evaluates a chunk and gives the logits that score it, batch by batch: what a sequence of batches sees, decoding sees. */
async function* scored(context: LlamaContext, chunk: Uint32Array, {promptTokens, batch}: Protocol): AsyncGenerator<Float32Array> {
    const handle = (context as unknown as {_ctx: object})._ctx;
    native.clearSequence(handle, 0);
    await native.evaluateLogits(handle, 0, 0, chunk.subarray(0, promptTokens), promptTokens - 1);
    for (let at = promptTokens; at < chunk.length; at += batch)
        yield await native.evaluateLogits(handle, 0, at, chunk.subarray(at, Math.min(at + batch, chunk.length)), 0);
}

async function run(protocol: Protocol, model: LlamaModel): Promise<Record<string, DivergenceSummary>> {
    const chunks = Number(values.chunks ?? protocol.chunks);
    const options = {contextSize: protocol.chunkTokens + 256, batchSize: 512};
    const base = await model.createContext({...stock, ...options, flashAttention: true});
    const caches = [];
    for (const [name, cache] of Object.entries(protocol.caches))
        caches.push({name, context: await model.createContext({...options, ...cache}), divergence: new Divergence()});
    for (let index = 0; index <= chunks; index++) {
        const from = index * protocol.chunkTokens;
        const chunk = Uint32Array.from(tokens.slice(from, from + protocol.chunkTokens));
        chunk[0] = model.tokens.bos ?? chunk[0]!;
        const expected: Float32Array[] = [];
        for await (const logits of scored(base, chunk, protocol)) expected.push(logits);
        for (const {context, divergence} of caches) {
            const next = tokens.slice(from + protocol.promptTokens + 1, from + protocol.chunkTokens + 1);
            let piece = 0;
            for await (const logits of scored(context, chunk, protocol)) {
                if (index > 0) divergence.add(expected[piece]!, logits, next.splice(0, protocol.batch));
                piece++;
            }
        }
    }
    const results: Record<string, DivergenceSummary> = {};
    for (const {name, context, divergence} of caches) {
        results[name] = divergence.summary();
        const {kld, kldError, kld99, sameTop1, perplexityRatio, positions} = results[name];
        console.log(`${protocol.name.padEnd(7)} ${name.padEnd(26)} KLD ${kld.toFixed(6)} ± ${kldError.toFixed(6)}  99% ${kld99.toFixed(4)}  ` +
            `top-1 ${(100 * sameTop1).toFixed(1)}%  PPL x${perplexityRatio.toFixed(4)}  (${positions} positions)`);
        await context.dispose();
    }
    await base.dispose();
    return results;
}

const report: Record<string, unknown> = {model: path.basename(model.filename ?? ""), date: new Date().toISOString().slice(0, 10)};
for (const protocol of protocols) report[protocol.name] = await run(protocol, model);
if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(report, null, 2) + "\n");
await llama.dispose();
