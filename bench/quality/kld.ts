/**
 * KL divergence of each cache from stock's F16 cache, on F16 weights: `npm run bench:quality -- [--caches high,exact] [--chunks N] [--threads N] [--out FILE]`.
 *
 * window: chunks of 1,024 tokens, the first 512 evaluated as a prompt, the next 512 scored in batches of 16.
 * worst:  chunks of 512 tokens in one batch, the second half scored; our tiers with window 0, so that every row is packed before
 *         any query sees it.
 * One more chunk goes first and is not scored: the vectors that are taken from keys come from it.
 */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {parseArgs} from "node:util";
import {quantizedStock, reference, tiers, type BenchCache} from "../caches.js";
import {f16Model} from "../support/f16-model.js";
import type {OpenCache} from "../support/open-cache.js";
import {dist, root} from "../support/package.js";
import {Runtime} from "../support/runtime.js";
import {Divergence, type DivergenceSummary} from "./divergence.js";

const {values} = parseArgs({options: {caches: {type: "string"}, chunks: {type: "string"}, out: {type: "string"}, threads: {type: "string", default: "2"}}});

interface Protocol {
    name: string;
    chunkTokens: number;
    promptTokens: number;
    batch: number;
    chunks: number;
    caches: BenchCache[];
}

const stockCaches: BenchCache[] = [
    {name: "stock F16, plain attention", options: {...reference.options, flashAttention: false}},
    ...quantizedStock
];
const windowless = {high: "k4v4", conservative: "k4v2", compact: "k3v2"};
const protocols: Protocol[] = [
    {
        name: "window", chunkTokens: 1024, promptTokens: 512, batch: 16, chunks: 4,
        caches: [...stockCaches, ...tiers]
    },
    {
        name: "worst", chunkTokens: 512, promptTokens: 256, batch: 256, chunks: 12,
        caches: [
            ...stockCaches, tiers[0]!,
            ...Object.keys(windowless).map((tier) => ({name: `${tier}, window 0`, options: {kvCache: `${tier}-window-0`}}))
        ]
    }
];

const {loadNative} = await dist("load-native.js");
await using runtime = await Runtime.open({
    threads: Number(values.threads), modelPath: async () => await f16Model(await loadNative()),
    policy: {tiers: Object.fromEntries(Object.entries(windowless).map(([tier, format]) => [`${tier}-window-0`, {format, window: 0}]))}
});
const {model} = runtime;
const native = await loadNative();
const text = readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8");
const tokens = model.tokenize(text);

/** Evaluates a chunk and gives the logits that score it, batch by batch: what a sequence of batches sees, decoding sees. */
async function* scored({handle}: OpenCache, chunk: Uint32Array, {promptTokens, batch}: Protocol): AsyncGenerator<Float32Array> {
    native.clearSequence(handle, 0);
    await native.evaluateLogits(handle, 0, 0, chunk.subarray(0, promptTokens), promptTokens - 1);
    for (let at = promptTokens; at < chunk.length; at += batch)
        yield await native.evaluateLogits(handle, 0, at, chunk.subarray(at, Math.min(at + batch, chunk.length)), 0);
}

/** Windowless ones go by their tier's name, too. */
const chosen = (name: string) => values.caches === undefined || values.caches.split(",").includes(name.replace(", window 0", ""));

async function run(protocol: Protocol): Promise<Record<string, DivergenceSummary>> {
    const chunks = Number(values.chunks ?? protocol.chunks);
    const contextSize = protocol.chunkTokens + 256;
    const base = await runtime.openCache(reference, contextSize);
    const caches = [];
    for (const cache of protocol.caches.filter(({name}) => chosen(name))) caches.push({open: await runtime.openCache(cache, contextSize), divergence: new Divergence()});
    for (let index = 0; index <= chunks; index++) {
        const from = index * protocol.chunkTokens;
        const chunk = Uint32Array.from(tokens.slice(from, from + protocol.chunkTokens));
        chunk[0] = model.tokens.bos ?? chunk[0]!;
        const expected: Float32Array[] = [];
        for await (const logits of scored(base, chunk, protocol)) expected.push(logits);
        for (const {open, divergence} of caches) {
            const next = tokens.slice(from + protocol.promptTokens + 1, from + protocol.chunkTokens + 1);
            let piece = 0;
            for await (const logits of scored(open, chunk, protocol)) {
                if (index > 0) divergence.add(expected[piece]!, logits, next.splice(0, protocol.batch));
                piece++;
            }
        }
    }
    const results: Record<string, DivergenceSummary> = {};
    for (const {open, divergence} of caches) {
        const {name} = open;
        results[name] = divergence.summary();
        const {kld, kldError, kld99, sameTop1, perplexityRatio, positions} = results[name];
        console.log(`${protocol.name.padEnd(7)} ${name.padEnd(26)} KLD ${kld.toFixed(6)} ± ${kldError.toFixed(6)}  99% ${kld99.toFixed(4)}  ` +
            `top-1 ${(100 * sameTop1).toFixed(1)}%  PPL x${perplexityRatio.toFixed(4)}  (${positions} positions)`);
        await open.dispose();
    }
    await base.dispose();
    return results;
}

const report: Record<string, unknown> = {model: model.filename, date: new Date().toISOString().slice(0, 10)};
for (const protocol of protocols) report[protocol.name] = await run(protocol);
if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(report, null, 2) + "\n");
