import {count, mib, table} from "./support/format.js";

/** bench/results/memory.json has one for each tier and number of tokens. */
export interface MemoryReport {
    tier: string;
    tokens: number;
    residentBytes: number;
    peakResidentBytes: number;
    stockBytes: number;
    /** The part of both that llama.cpp keeps of recurrent states. Absent in older files, which have none. */
    bytesBeside?: number;
    /** What the process grew by, V8's heap aside. */
    processGrowth: number;
    /** What llama.cpp reserves for intermediate results, with any cache. Pages that it never touches are not resident. */
    computeBytes: number;
}

const less = ({stockBytes, residentBytes}: MemoryReport) => `${(stockBytes / residentBytes).toFixed(2)}x`;

/** Those of the longest sequence. */
export function atDepth(reports: readonly MemoryReport[]): MemoryReport[] {
    const deepest = Math.max(...reports.map(({tokens}) => tokens));
    return reports.filter(({tokens}) => tokens === deepest);
}

export function memoryTables(reports: readonly MemoryReport[]): {memory: string; shortMemory: string} {
    const deep = atDepth(reports), short = reports.filter((report) => !deep.includes(report));
    const lengths = [...new Set(short.map(({tokens}) => tokens))].sort((a, b) => a - b);
    const at = (tier: string, tokens: number) => short.find((report) => report.tier === tier && report.tokens === tokens);
    // llama.cpp allocates states with the context, so that the process does not grow by them.
    const beside = deep.some(({bytesBeside = 0}) => bytesBeside > 0);
    return {
        memory: table([`${count(deep[0]!.tokens)} tokens`, "resident, everything counted", "stock F16", "less by", beside ? "recurrent states, in both" : "the process grew by"],
            deep.map((report) => [
                report.tier, mib(report.residentBytes), mib(report.stockBytes), less(report), mib(beside ? report.bytesBeside ?? 0 : report.processGrowth)
            ])),
        shortMemory: table(["less than stock F16 by", ...lengths.map((tokens) => `${count(tokens)} tokens`)],
            deep.map(({tier}) => [tier, ...lengths.map((tokens) => {
                const report = at(tier, tokens);
                return report === undefined ? "" : less(report);
            })]))
    };
}
