/** Puts the tables of bench/results/*.json into README.md, between their markers: `npm run readme`. */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {MemoryReport} from "./memory.js";
import type {DivergenceSummary} from "./quality/divergence.js";
import {SpeedFigures, type SpeedReport} from "./speed-report.js";
import {count, mib, table} from "./support/format.js";
import {root} from "./support/package.js";

const results = (name: string) => JSON.parse(readFileSync(path.join(root, "bench/results", `${name}.json`), "utf8"));

function quality(): string {
    const report = results("quality") as Record<"window" | "worst", Record<string, DivergenceSummary>>;
    const kld = (summary: DivergenceSummary | undefined) => summary === undefined ? "" : `${summary.kld.toFixed(5)} ± ${summary.kldError.toFixed(5)}`;
    const rows = Object.entries(report.window).map(([name, summary]) => {
        const worst = report.worst[name] ?? report.worst[`${name}, window 0`];
        return [name, kld(summary), `${(100 * summary.sameTop1).toFixed(1)}%`, `x${summary.perplexityRatio.toFixed(3)}`, kld(worst)];
    });
    const [first] = Object.values(report.window), [worst] = Object.values(report.worst);
    return table(["cache", "KLD as used", "same top-1", "perplexity", "KLD worst case"], rows) +
        `\n\n${count(first!.positions)} positions as used, ${count(worst!.positions)} in the worst case.`;
}

function memory(): string {
    const rows = (results("memory") as MemoryReport[]).map(({tier, residentBytes, stockBytes, processGrowth}) => [
        tier, mib(residentBytes), mib(stockBytes), `${(stockBytes / residentBytes).toFixed(2)}x`, mib(processGrowth)
    ]);
    return table(["tier", "resident, everything counted", "stock F16", "less by", "the process grew by"], rows);
}

const {tables} = new SpeedFigures(results("speed") as SpeedReport);

const readme = path.join(root, "README.md");
let text = readFileSync(readme, "utf8");
for (const [name, render] of Object.entries({quality, memory, ...tables}))
    text = text.replace(new RegExp(`(<!-- table:${name} -->\n)[^]*?(<!-- /table:${name} -->)`), (_, open: string, close: string) => `${open}\n${render()}\n\n${close}`);
writeFileSync(readme, text);
