import type {CacheReport, EvalReport} from "../ts/eval/report.js";
import {quantizedStock, reference, tiers} from "./caches.js";
import {atDepth, type MemoryReport} from "./memory-report.js";
import type {FactsReport} from "./quality/facts-report.js";
import type {SpeedFigures} from "./speed-report.js";
import {count, mib, percent, table, threadCount} from "./support/format.js";

/** The reports whose figures stand side by side in README and docs/tiers.md. */
export interface SummaryReports {
    memory: readonly MemoryReport[];
    speed: SpeedFigures;
    quality: EvalReport;
    facts: FactsReport;
}

const byName = <Named extends {name: string}>(list: readonly Named[], name: string) => list.find((entry) => entry.name === name);
const times = (ratio: number) => `${ratio.toFixed(2)}x`;

/** Memory, speed and divergence of stock's caches and of some tiers at one depth: README's figures. */
export function summaryTable({memory, speed, quality}: SummaryReports): string {
    const deep = atDepth(memory), {tokens, stockBytes} = deep[0]!, {model, processor, threads} = speed.report;
    const rows = [reference, ...quantizedStock, ...tiers].map(({name, bitsPerValue}) => {
        const point = speed.at(tokens, 1, name), figures = byName(quality.caches, evalName(name))?.logits?.window;
        const bytes = bitsPerValue === undefined ? deep.find(({tier}) => tier === name)!.residentBytes : stockBytes * bitsPerValue / 16;
        return [
            name, mib(bytes), times(stockBytes / bytes),
            ...point === undefined ? ["", ""] : [speed.decodeSpeed(point).toFixed(1), `x${speed.toReference(point).toFixed(2)}`],
            name === reference.name ? "0" : figures?.kld.toFixed(5) ?? ""
        ];
    });
    return table(["cache", `memory at ${count(tokens)} tokens`, "less by", "decode there, tokens/s", "to stock F16", "KL divergence, nats"], rows) +
        `\n\n${model.file}, ${processor}, ${threadCount(threads)}.`;
}

/** What each tier costs and brings. */
export function tierTable({memory, quality, facts}: SummaryReports): string {
    const deep = atDepth(memory), {tokens} = deep[0]!;
    const ratio = ({name, logits}: CacheReport) => {
        const report = deep.find(({tier}) => tier === name);
        return report === undefined ? logits!.window.memoryRatio : report.stockBytes / report.residentBytes;
    };
    const share = (relative: number | null | undefined) => relative == null ? "" : percent(relative);
    const rows = quality.caches.filter(({logits}) => logits !== undefined).map((cache) => [
        cache.name, times(ratio(cache)), cache.logits!.window.kld.toFixed(5), share(cache.retrieval?.unknown.relative),
        share(byName(facts.caches, cache.name)?.relative)
    ]);
    return table(["cache", `less memory at ${count(tokens)} tokens by`, "KL divergence", "single facts, asked later", "numbers of one form"], rows);
}

/** `npx deltastore eval` names stock's caches as options are named. */
const evalName = (name: string) => name.toLowerCase().replace(" ", "-");
