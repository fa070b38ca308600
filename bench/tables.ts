/**
 * Fills the marked places of README.md, docs/*.md and the example's README with what bench/results/*.json says: `npm run tables`. A table
 * stands between `<!-- table:NAME -->` and `<!-- /table:NAME -->`, a figure inside a sentence between `<!-- figure:NAME -->` and
 * `<!-- /figure:NAME -->`.
 */
import {readdirSync, readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {EvalReport} from "../ts/eval/report.js";
import {findingsFigures, findingsTables, type Findings} from "./findings-tables.js";
import {coldTable, type ColdReport} from "./cold-report.js";
import {firstTokenTables, type FirstTokenReport} from "./first-token-report.js";
import {loadTable, type LoadReport} from "./load-report.js";
import {memoryTables, type MemoryReport} from "./memory-report.js";
import {planBytesTable, planTables, type PlanBytes, type PlanResults} from "./plan-tables.js";
import {evalTables} from "./quality/eval-tables.js";
import {factsTable, type FactsReport} from "./quality/facts-report.js";
import {sweepTable, type SweepReport} from "./quality/sweep-report.js";
import {sharingTables, type SharingPoint} from "./sharing-report.js";
import {SpeedFigures, type SpeedReport} from "./speed-report.js";
import {summaryTable, tierTable, type SummaryReports} from "./summary.js";
import {root} from "./support/package.js";
import {turnsTables, type TurnsReport} from "./turns-report.js";
import {winsTable, type ModelWins} from "./wins-report.js";

const results = <Report>(name: string) => JSON.parse(readFileSync(path.join(root, "bench/results", `${name}.json`), "utf8")) as Report;

const speedTable = ({tables, setting}: SpeedFigures) => `${tables.speed()}\n\n${setting}`;
const speedOf = (name: string) => speedTable(new SpeedFigures(results<SpeedReport>(name)));
const sharedPrefixOf = (name: string) => firstTokenTables(results<FirstTokenReport>(name)).sharedPrefix;

const reports: SummaryReports = {
    memory: results<MemoryReport[]>("memory"), speed: new SpeedFigures(results<SpeedReport>("speed")),
    quality: results<EvalReport>("quality"), facts: results<FactsReport>("facts")
};
const papers = results<SweepReport>("sweep-papers"), scorers = results<SweepReport>("sweep-scorers");
const gemma = evalTables(results<EvalReport>("quality-gemma-3-270m")), gemmaPapers = results<SweepReport>("sweep-papers-gemma-3-270m");
const plan = results<PlanResults>("plan"), findings = results<Findings>("findings");
const {together} = reports.speed.tables;
const tables: Record<string, string> = {
    summary: summaryTable(reports), tiers: tierTable(reports), ...memoryTables(reports.memory), ...evalTables(reports.quality), facts: factsTable(reports.facts),
    scorers: sweepTable(scorers), papers: sweepTable(papers),
    speed: speedTable(reports.speed), together: together(), avx2: speedOf("speed-avx2"),
    ...firstTokenTables(results<FirstTokenReport>("first-token")), ...sharingTables(results<SharingPoint[]>("sharing")),
    ...turnsTables(results<TurnsReport>("turns")), load: loadTable(results<LoadReport>("chat-server-load")), wins: winsTable(results<ModelWins[]>("wins")),
    "gemma-quality": gemma.quality, "gemma-retrieval": gemma.retrieval, "gemma-generation": gemma.generation,
    "gemma-papers": `${sweepTable(gemmaPapers)}\n\n![Memory against divergence of Gemma 3 270M](../bench/results/sweep-papers-gemma-3-270m.svg)`,
    "gemma-speed": speedOf("speed-gemma-3-270m"), "hybrid-speed": speedOf("speed-lfm2-350m-random"),
    "gemma-memory": memoryTables(results<MemoryReport[]>("memory-gemma-3-270m")).memory,
    ...planTables(plan), ...findingsTables(findings), "plan-bytes": planBytesTable(results<PlanBytes[]>("plan-bytes")), cold: coldTable(results<ColdReport>("cold")),
    "gemma-sharing": sharedPrefixOf("first-token-gemma-3-270m"), "hybrid-sharing": sharedPrefixOf("first-token-lfm2-350m-random")
};

const kldOf = (list: readonly {name: string; kld: number | undefined}[], name: string) => list.find((entry) => entry.name === name)!.kld!.toFixed(5);
const tierKlds = reports.quality.caches.map(({name, logits}) => ({name, kld: logits?.window.kld}));
const figures: Record<string, string> = {
    "plan-joules": plan.joulesPerToken.toFixed(3),
    ...findingsFigures(findings), "kld-compact": kldOf(tierKlds, "compact"), "kld-stock-q4": kldOf(tierKlds, "stock-q4_0"),
    "kld-conservative": kldOf(tierKlds, "conservative"), "kld-without-important-rows": kldOf(papers.points, "k4v2"),
    "kld-uniform": kldOf(scorers.points, "keep-68-attention-uniform"), "kld-retrieval": kldOf(scorers.points, "keep-68-attention-retrieval")
};

const pages = ["README.md", "examples/chat-server/README.md", ...readdirSync(path.join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
const unused = new Set([...Object.keys(tables), ...Object.keys(figures)]);
for (const page of pages) {
    const file = path.join(root, page), before = readFileSync(file, "utf8");
    const text = before.replace(/<!-- (table|figure):([\w-]+) -->[^]*?<!-- \/\1:\2 -->/g, (_, kind: string, name: string) => {
        const filling = (kind === "table" ? tables : figures)[name];
        if (filling === undefined) throw new Error(`${page} has a place for the ${kind} "${name}", which no bench fills`);
        unused.delete(name);
        return `<!-- ${kind}:${name} -->${kind === "table" ? `\n\n${filling}\n\n` : filling}<!-- /${kind}:${name} -->`;
    });
    if (text !== before) writeFileSync(file, text);
}
if (unused.size > 0) throw new Error(`No page has a place for ${[...unused].join(", ")}`);
