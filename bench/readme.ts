/** Puts the tables of bench/results/*.json into README.md, docs/*.md and the example's README, between their markers: `npm run readme`. */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {CacheReport, EvalReport} from "../ts/eval/report.js";
import type {RetrievalSummary} from "../ts/eval/retrieval.js";
import {firstTokenTables, type FirstTokenReport} from "./first-token-report.js";
import type {MemoryReport} from "./memory.js";
import type {FactsReport} from "./quality/facts-report.js";
import type {SweepPoint} from "./quality/pareto.js";
import {SpeedFigures, type SpeedReport} from "./speed-report.js";
import {count, mib, table} from "./support/format.js";
import {dist, root} from "./support/package.js";
import {turnsTables, type TurnsReport} from "./turns-report.js";

const results = (name: string) => JSON.parse(readFileSync(path.join(root, "bench/results", `${name}.json`), "utf8"));

const {isBroken} = await dist("eval/retrieval.js");
const {caches} = results("quality") as EvalReport;
const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
const withError = (value: number, error: number, digits: number) => `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;

/** The caches for which this was measured. */
function measured<Name extends "logits" | "retrieval" | "generation">(name: Name): {name: string; figures: NonNullable<CacheReport[Name]>}[] {
    return caches.flatMap((cache) => {
        const figures = cache[name];
        return figures === undefined ? [] : [{name: cache.name, figures: figures as NonNullable<CacheReport[Name]>}];
    });
}

function quality(): string {
    const rows = measured("logits").map(({name, figures: {window, worst}}) => [
        name, `${window.memoryRatio.toFixed(2)}x`, withError(window.kld, window.kldError, 5), window.kld99.toFixed(4), percent(window.sameTop1),
        `x${window.perplexityRatio.toFixed(3)}`, window.grade, withError(worst.kld, worst.kldError, 5)
    ]);
    const [first] = measured("logits");
    return table(["cache", "less memory by", "KLD as used", "99%", "same top-1", "perplexity", "grade", "KLD worst case"], rows) +
        `\n\n${count(first!.figures.window.positions)} positions as used, ${count(first!.figures.worst.positions)} in the worst case.`;
}

/** What an accuracy means beside stock's. */
const toStock = (summary: RetrievalSummary) => [
    (summary.relative === null ? "" : percent(summary.relative)) + (isBroken(summary) ? ", BROKEN" : ""),
    withError(summary.logProbabilityChange, summary.logProbabilityChangeError, 2)
];

function retrieval(): string {
    const cells = (summary: RetrievalSummary) => [percent(summary.accuracy), ...toStock(summary)];
    const rows = measured("retrieval").map(({name, figures: {unknown, known}}) => [name, ...cells(unknown), ...cells(known)]);
    const [first] = measured("retrieval");
    return table(["cache", "asked later", "to stock", "log-probability", "asked at once", "to stock", "log-probability"], rows) +
        `\n\n${first!.figures.unknown.questions} questions each way.`;
}

function facts(): string {
    const {caches, seeds} = results("facts") as FactsReport;
    const rows = caches.map((cache) => [cache.name, String(cache.right), ...toStock(cache)]);
    return table(["cache", "answered", "to stock", "log-probability"], rows) + `\n\n${caches[0]!.questions} questions on ${seeds.length} texts.`;
}

function generation(): string {
    const rows = measured("generation").map(({name, figures: {agreed, agreedError, identical, perplexity, perplexityError}}) =>
        [name, withError(agreed, agreedError, 1), percent(identical), withError(perplexity, perplexityError, 3)]);
    const [first] = measured("generation");
    return table(["cache", "tokens as stock's", "identical", "perplexity under stock"], rows) + `\n\n${first!.figures.answers} answers of at most 64 tokens.`;
}

function memory(): string {
    const rows = (results("memory") as MemoryReport[]).map(({tier, residentBytes, stockBytes, processGrowth}) => [
        tier, mib(residentBytes), mib(stockBytes), `${(stockBytes / residentBytes).toFixed(2)}x`, mib(processGrowth)
    ]);
    return table(["tier", "resident, everything counted", "stock F16", "less by", "the process grew by"], rows);
}

function sharing(): string {
    const ratio = (stock: number, resident: number) => `${(stock / resident).toFixed(1)}x`;
    const rows = (results("sharing") as {tier: string; sharedPercent: number; stockBytes: number; residentBytes: number; idleBytes: number}[]).map(
        ({tier, sharedPercent, stockBytes, residentBytes, idleBytes}) =>
            [tier, `${sharedPercent}%`, mib(residentBytes), mib(stockBytes), ratio(stockBytes, residentBytes), ratio(stockBytes, idleBytes)]);
    return table(["tier", "shared part", "resident, 100 sequences of 4,096 tokens", "stock F16, each its own", "less by", "with idle windows packed"], rows);
}

/** A run of examples/chat-server's load test. */
function load(): string {
    type Times = Record<"count" | "p50" | "p90" | "p99" | "max", number>;
    const {clients, seconds, server, load: {milliseconds, counts}, memory} = results("chat-server-load") as {
        clients: number; seconds: number; server: {threads: string}; load: {milliseconds: Record<string, Times>; counts: Record<string, number>};
        memory: {limitBytes: number; highestBytes: number}
    };
    const names = {waited: "waited for a place", firstToken: "first token", answer: "whole answer", answerWithRetries: "with tries that were refused"};
    const rows = Object.entries(names).map(([name, label]) => {
        const {p50, p90, p99, max} = milliseconds[name]!;
        return [label, ...[p50, p90, p99, max].map((time) => `${(time / 1000).toFixed(1)} s`)];
    });
    return table(["after", "half within", "90%", "99%", "all"], rows) + `\n\n${clients} clients for ${Math.round(seconds / 60)} minutes, ${server.threads} thread on two cores: ` +
        `${counts.finished} answers, ${counts.aborted} that a client left, ${counts.refused} requests refused and ${counts.cut} answers cut for want of room, ` +
        `${counts.failed} failed, ${counts.wrong} wrong. The cache held at most ${count(memory.highestBytes)} of ${count(memory.limitBytes)} bytes.`;
}

/** Points of bench:sweep. */
function sweep(name: string): string {
    const {tokens, points} = results(name) as {tokens: number; points: SweepPoint[]};
    const rows = points.map(({name, memoryRatio, kld, kldError}) => [name, `${memoryRatio.toFixed(2)}x`, withError(kld, kldError, 4)]);
    return table(["configuration", `less memory at ${count(tokens)} tokens by`, "KLD"], rows);
}

const turnsReport = () => turnsTables(results("turns") as TurnsReport);
const firstTokenReport = () => firstTokenTables(results("first-token") as FirstTokenReport);
const {tables} = new SpeedFigures(results("speed") as SpeedReport);
const avx2 = new SpeedFigures(results("speed-avx2") as SpeedReport).tables.speed;
const all = {
    quality, retrieval, facts, generation, memory, sharing, load, ...tables, avx2,
    turns: () => turnsReport().turns, histories: () => turnsReport().histories, waking: () => turnsReport().waking,
    firstToken: () => firstTokenReport().firstToken, sharedPrefix: () => firstTokenReport().sharedPrefix, scorers: () => sweep("sweep-scorers"), papers: () => sweep("sweep-papers")
};
for (const page of ["README.md", "docs/tiers.md", "docs/turns.md", "examples/chat-server/README.md"]) {
    const file = path.join(root, page);
    let text = readFileSync(file, "utf8");
    for (const [name, render] of Object.entries(all))
        text = text.replace(new RegExp(`(<!-- table:${name} -->\n)[^]*?(<!-- /table:${name} -->)`),
            (_, open: string, close: string) => `${open}\n${render()}\n\n${close}`);
    writeFileSync(file, text);
}
