/** Puts the tables of bench/results/*.json into README.md, between their markers: `npm run readme`. */
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {DivergenceSummary} from "./quality/divergence.js";
import {root} from "./support/package.js";

const results = (name: string) => JSON.parse(readFileSync(path.join(root, "bench/results", `${name}.json`), "utf8"));
const table = (head: string[], rows: string[][]) =>
    [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const tables: Record<string, () => string> = {
    quality() {
        const report = results("quality") as Record<"window" | "worst", Record<string, DivergenceSummary>>;
        const kld = (summary: DivergenceSummary | undefined) => summary === undefined ? "" : `${summary.kld.toFixed(5)} ± ${summary.kldError.toFixed(5)}`;
        const rows = Object.entries(report.window).map(([name, summary]) => {
            const worst = report.worst[name] ?? report.worst[`${name}, window 0`];
            return [name, kld(summary), `${(100 * summary.sameTop1).toFixed(1)}%`, `x${summary.perplexityRatio.toFixed(3)}`, kld(worst)];
        });
        const [first] = Object.values(report.window), [worst] = Object.values(report.worst);
        return table(["cache", "KLD as used", "same top-1", "perplexity", "KLD worst case"], rows) +
            `\n\n${first!.positions.toLocaleString("en")} positions as used, ${worst!.positions.toLocaleString("en")} in the worst case.`;
    },
    memory() {
        const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
        const rows = (results("memory") as Record<string, number>[]).map((row) => [
            String(row["tier"]), mib(row["residentBytes"]!), mib(row["stockBytes"]!), `${row["ratio"]!.toFixed(2)}x`
        ]);
        return table(["tier", "resident, everything counted", "stock F16", "less by"], rows);
    },
    speed() {
        interface Row {depth: number; cache: string; prefill: number; decode: number; prefillRatios: number[]; decodeRatios: number[]}
        const ratio = (list: number[]) => {
            const sorted = [...list].sort((a, b) => a - b);
            return `x${sorted[sorted.length >> 1]!.toFixed(2)} (${sorted[0]!.toFixed(2)} to ${sorted.at(-1)!.toFixed(2)})`;
        };
        const rows = (results("speed") as {rows: Row[]}).rows.map((row) => [
            row.depth.toLocaleString("en"), row.cache, row.prefill.toFixed(0), ratio(row.prefillRatios), row.decode.toFixed(1), ratio(row.decodeRatios)
        ]);
        return table(["depth", "cache", "prefill of 512, tokens/s", "to stock F16", "decode, tokens/s", "to stock F16"], rows);
    }
};

const readme = path.join(root, "README.md");
let text = readFileSync(readme, "utf8");
for (const [name, render] of Object.entries(tables)) {
    if (!existsSync(path.join(root, "bench/results", `${name}.json`))) continue;
    text = text.replace(new RegExp(`(<!-- table:${name} -->\n)[^]*?(<!-- /table:${name} -->)`), (_, open: string, close: string) => `${open}\n${render()}\n\n${close}`);
}
writeFileSync(readme, text);
