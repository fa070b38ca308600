/**
 * Resident memory of each tier, as the cache reports it and as the system sees it: `npm run bench:memory -- [--model NAME|FILE]
 * [--tokens 50,150,8192] [--out FILE]`. Each tier runs in a process of its own. It evaluates all tokens once and drops them: then what the runtime and V8
 * allocate on first use is there. What the process grows by while it evaluates them again is the cache.
 */
import {execFileSync} from "node:child_process";
import {readFileSync, writeFileSync} from "node:fs";
import {parseArgs} from "node:util";
import {evictingTiers, tiers, type BenchCache} from "./caches.js";
import type {MemoryReport} from "./memory-report.js";
import {count, mib} from "./support/format.js";
import {chosenModel, modelOption, resultsFile} from "./support/model-option.js";
import {Runtime} from "./support/runtime.js";

/** Anonymous resident bytes, without the mapped file of the model and without V8's heap, of which V8 gives back some MiB at any time. */
function nativeBytes(): number {
    const match = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
    return Number(match![1]) * 1024 - process.memoryUsage().heapTotal;
}

/** V8 gives its garbage back to the system only some time after it was collected. */
async function settle(): Promise<void> {
    for (let i = 0; i < 5; i++) {
        globalThis.gc!();
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

async function measure(cache: BenchCache, tokens: number): Promise<MemoryReport> {
    await using runtime = await Runtime.open({threads: 1, modelPath: () => chosenModel(values.model)});
    const open = await runtime.openCache(cache, tokens);
    await open.prefill(0, tokens);
    open.cut(0);
    await settle();
    const before = nativeBytes();
    await open.prefill(0, tokens);
    await settle();
    const processGrowth = nativeBytes() - before;
    const {residentBytes, peakResidentBytes, stockBytes, bytesBeside} = runtime.store.stats(open.context);
    return {
        tier: cache.name, tokens, residentBytes, peakResidentBytes, stockBytes, bytesBeside, processGrowth,
        computeBytes: open.handle.getMemoryBreakdown().cpuRam
    };
}

function measureInProcess(tier: string, tokens: number): MemoryReport {
    const output = execFileSync(process.execPath, ["--expose-gc", process.argv[1]!, "--tier", tier, "--tokens", String(tokens), ...values.model === undefined ? [] : ["--model", values.model]], {encoding: "utf8"});
    return JSON.parse(output.trim().split("\n").at(-1)!) as MemoryReport;
}

const {values} = parseArgs({options: {
    ...modelOption, tokens: {type: "string", default: "50,150,8192"}, tier: {type: "string"},
    out: {type: "string"}
}});
const lengths = values.tokens.split(",").map(Number);
const measured = [...tiers, ...evictingTiers];
const tier = measured.find(({name}) => name === values.tier);
if (tier !== undefined) console.log(JSON.stringify(await measure(tier, lengths[0]!)));
else {
    const reports = lengths.flatMap((tokens) => measured.map(({name}) => {
        const report = measureInProcess(name, tokens);
        const {residentBytes, peakResidentBytes, stockBytes, processGrowth, computeBytes} = report;
        console.log(`${name.padEnd(12)} ${count(tokens)} tokens: ${mib(residentBytes)} resident (peak ${mib(peakResidentBytes)}), stock F16 ` +
            `${mib(stockBytes)}, ratio ${(stockBytes / residentBytes).toFixed(2)}; the process grew by ${mib(processGrowth)}, ` +
            `${(processGrowth / residentBytes).toFixed(2)} of it; compute buffers of ${mib(computeBytes)} are reserved besides`);
        return report;
    }));
    writeFileSync(values.out ?? resultsFile("memory", values.model), JSON.stringify(reports, null, 2) + "\n");
}
