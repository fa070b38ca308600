import type {Command} from "commander";
import {resolveTier} from "../policy/tiers.js";
import {loadPolicy} from "../policy/load.js";
import {computeFigures, formatFigures} from "./demo-report.js";
import {runCache, warmUp, type CacheRun} from "./demo-run.js";
import {collect, wholeNumber} from "./options.js";
import {printJson, printLine, printNote} from "./output.js";
import {openRuntime} from "./runtime.js";

interface DemoOptions {
    model?: string;
    tier?: string[];
    policy?: string;
    threads?: number;
    json?: boolean;
}

const defaultTiers = ["high", "conservative"];

/** Adds `demo`, which is also `npm start`. */
export function addDemoCommand(program: Command): void {
    program.command("demo")
        .description("run a long prompt with a question on the stock F16 cache and on packed ones, side by side")
        .option("--model <path>", "GGUF file to use instead of fetching SmolLM2 135M (98 MB)")
        .option("--tier <name>", `tier to show, repeatable (default: ${defaultTiers.join(" and ")})`, collect)
        .option("--policy <file>", "policy file (JSON) that has the tiers")
        .option("--threads <n>", "threads to compute with", wholeNumber(1, 1024))
        .option("--json", "print JSON")
        .action(demo);
}

async function demo({model, tier: tiers = defaultTiers, policy, threads, json}: DemoOptions): Promise<void> {
    const loaded = loadPolicy(policy);
    for (const name of tiers) resolveTier(loaded, name);

    const runtime = await openRuntime({model, policy, threads});
    try {
        await warmUp(runtime);
        const runs: CacheRun[] = [];
        for (const cache of ["stock", ...new Set(tiers)]) {
            printNote(`Running the prompt on ${cache === "stock" ? "the stock F16 cache" : `the tier ${cache}`} ...`);
            runs.push(await runCache(runtime, cache, runs[0]?.transcript));
        }
        const figures = computeFigures(runs);
        if (json) printJson({model: runtime.modelPath, threads: runtime.threads, caches: figures});
        else printLine(`\n${formatFigures(figures)}`);
    } finally {
        await runtime.close();
    }
}
