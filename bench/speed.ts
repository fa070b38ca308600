/**
 * Decode and prefill of each cache against stock F16, in one process and interleaved: `npm run bench:speed -- [--depths 0,2048,8192]
 * [--rounds N] [--threads N] [--out FILE]`. Prints medians, and the ratio to stock F16 round by round as median (lowest to highest).
 */
import {writeFileSync} from "node:fs";
import {parseArgs} from "node:util";
import {getLlama, type LlamaContext} from "node-llama-cpp";
import {dist} from "./support/package.js";

const {attach} = await dist("index.js");
const {loadNative} = await dist("load-native.js");
const {resolveDemoModel} = await dist("models/fetch.js");

const {values} = parseArgs({
    options: {
        depths: {type: "string", default: "0,2048,8192"}, rounds: {type: "string", default: "5"},
        threads: {type: "string", default: "2"}, out: {type: "string"}, caches: {type: "string"}
    }
});
const depths = values.depths.split(",").map(Number);
const rounds = Number(values.rounds);
const prefillTokens = 512, decodeTokens = 24;

const llama = await getLlama({gpu: false, maxThreads: Number(values.threads)});
using store = await attach(llama);
const native = await loadNative();
const model = await llama.loadModel({modelPath: await resolveDemoModel(), gpuLayers: 0});
const stockType = (type: "Q8_0" | "Q4_0") => ({kvCache: "stock", experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});
const caches: Record<string, object> = {
    "stock F16": {kvCache: "stock"}, "stock Q8_0": stockType("Q8_0"), "stock Q4_0": stockType("Q4_0"),
    exact: {kvCache: "exact"}, high: {kvCache: "high"}, conservative: {kvCache: "conservative"}
};
const wanted = values.caches?.split(",");

interface Handle {
    setThreads(count: number): void;
    removeTokenCellsFromSequence(sequenceId: number, from: number, to: number): boolean;
}
const handleOf = (context: LlamaContext) => (context as unknown as {_ctx: Handle})._ctx;

/** A token stream without repetition to speak of; speed does not depend on what it says. */
const token = (position: number) => 1000 + (position * 7919) % 40000;

async function evaluate(context: LlamaContext, from: number, to: number, batch: number): Promise<number> {
    const start = performance.now();
    for (let at = from; at < to; at += batch) {
        const count = Math.min(batch, to - at);
        await native.evaluateLogits(handleOf(context), 0, at, Uint32Array.from({length: count}, (_, i) => token(at + i)), count - 1);
    }
    return (to - from) / (performance.now() - start) * 1000;
}

const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const report: {threads: number; rows: object[]} = {threads: Number(values.threads), rows: []};

for (const depth of depths) {
    const contexts = [];
    for (const [name, options] of Object.entries(caches)) {
        if (wanted !== undefined && name !== "stock F16" && !wanted.includes(name)) continue;
        const context = await model.createContext({contextSize: depth + prefillTokens + 256, batchSize: 512, flashAttention: true, ...options});
        handleOf(context).setThreads(Number(values.threads));
        await evaluate(context, 0, depth, 512);
        contexts.push({name, context, prefill: [] as number[], decode: [] as number[]});
    }
    for (let round = -1; round < rounds; round++) {  // the first warms up
        for (const {context, prefill, decode} of contexts) {
            const prefillSpeed = await evaluate(context, depth, depth + prefillTokens, prefillTokens);
            handleOf(context).removeTokenCellsFromSequence(0, depth, -1);
            const decodeSpeed = await evaluate(context, depth, depth + decodeTokens, 1);
            handleOf(context).removeTokenCellsFromSequence(0, depth, -1);
            if (round < 0) continue;
            prefill.push(prefillSpeed);
            decode.push(decodeSpeed);
        }
    }
    const base = contexts[0]!;
    for (const entry of contexts) {
        const ratios = (kind: "prefill" | "decode") => entry[kind].map((speed, i) => speed / base[kind][i]!);
        const show = (kind: "prefill" | "decode") => {
            const list = ratios(kind);
            return `${median(entry[kind]).toFixed(1).padStart(7)} t/s  x${median(list).toFixed(2)} (${Math.min(...list).toFixed(2)} to ${Math.max(...list).toFixed(2)})`;
        };
        let bytes = "";
        try {
            const stats = store.stats(entry.context);
            if (stats.tokens > 0) bytes = `  ${(stats.residentBytes / 2 ** 20).toFixed(1)} MiB, stock's over it ${(stats.stockBytes / stats.residentBytes).toFixed(2)}`;
        } catch { /* a stock cache has no stats */ }
        console.log(`depth ${String(depth).padStart(6)}  ${entry.name.padEnd(13)} prefill ${show("prefill")}   decode ${show("decode")}${bytes}`);
        report.rows.push({
            depth, cache: entry.name, prefill: median(entry.prefill), decode: median(entry.decode),
            prefillRatios: ratios("prefill"), decodeRatios: ratios("decode")
        });
        await entry.context.dispose();
    }
}
if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(report, null, 2) + "\n");
await llama.dispose();
