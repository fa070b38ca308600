/**
 * Resident memory of each tier at 8,192 tokens, as the cache reports it and as the system sees it: `npm run bench:memory -- [--tokens N]
 * [--out FILE]`. Each tier runs in a process of its own, whose growth is compared with residentBytes and compute buffers.
 */
import {execFileSync} from "node:child_process";
import {readFileSync, writeFileSync} from "node:fs";
import {parseArgs} from "node:util";
import {getLlama} from "node-llama-cpp";
import {dist} from "./support/package.js";

const {values} = parseArgs({options: {tokens: {type: "string", default: "8192"}, tier: {type: "string"}, out: {type: "string"}}});
const tokenCount = Number(values.tokens);

/** Anonymous resident bytes: without the model's mapped file. */
function anonymousBytes(): number {
    const match = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
    return Number(match![1]) * 1024;
}

/** JavaScript's own garbage would be counted otherwise. */
async function settle(): Promise<void> {
    for (let i = 0; i < 5; i++) {
        globalThis.gc?.();
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

async function measure(tier: string): Promise<object> {
    const {attach} = await dist("index.js");
    const {loadNative} = await dist("load-native.js");
    const {resolveDemoModel} = await dist("models/fetch.js");
    const llama = await getLlama({gpu: false, maxThreads: 1});
    using store = await attach(llama);
    const native = await loadNative();
    const model = await llama.loadModel({modelPath: await resolveDemoModel(), gpuLayers: 0});
    const context = await model.createContext({contextSize: tokenCount, batchSize: 512, kvCache: tier});
    const handle = (context as unknown as {_ctx: {setThreads(count: number): void}})._ctx;
    handle.setThreads(1);
    const batch = (at: number) => Uint32Array.from({length: Math.min(512, tokenCount - at)}, (_, i) => 1000 + ((at + i) * 7919) % 40000);
    await settle();
    const before = anonymousBytes();
    let computeBytes = 0;
    for (let at = 0; at < tokenCount; at += 512) {
        await native.evaluateLogits(handle, 0, at, batch(at), batch(at).length - 1);
        // The first batch also touches the compute buffers, which stock has as well.
        if (at === 0) computeBytes = anonymousBytes() - before - store.stats(context).residentBytes;
    }
    await settle();
    const processGrowth = anonymousBytes() - before;
    const {residentBytes, stockBytes, peakResidentBytes, tokens} = store.stats(context);
    await llama.dispose();
    return {
        tier, tokens, residentBytes, peakResidentBytes, stockBytes, ratio: stockBytes / residentBytes, computeBytes, processGrowth,
        growthOverExpected: processGrowth / (residentBytes + computeBytes)
    };
}

if (values.tier !== undefined) console.log(JSON.stringify(await measure(values.tier)));
else {
    const rows = ["exact", "high", "conservative"].map((tier) => {
        const output = execFileSync(process.execPath, ["--expose-gc", process.argv[1]!, "--tier", tier, "--tokens", values.tokens], {encoding: "utf8"});
        const row = JSON.parse(output.trim().split("\n").at(-1)!) as Record<string, number>;
        const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
        console.log(`${tier.padEnd(13)} ${row["tokens"]} tokens: ${mib(row["residentBytes"]!)} MiB resident (peak ${mib(row["peakResidentBytes"]!)}), ` +
            `stock F16 ${mib(row["stockBytes"]!)} MiB, ratio ${row["ratio"]!.toFixed(2)}; the process grew by ${mib(row["processGrowth"]!)} MiB, ` +
            `${row["growthOverExpected"]!.toFixed(2)} of residentBytes and compute buffers`);
        return row;
    });
    if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(rows, null, 2) + "\n");
}
