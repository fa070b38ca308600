import type {Command} from "commander";
import {loadPolicy, policyFromEnvironment, readPolicy} from "../policy/load.js";
import {builtInTiers, resolveTier} from "../policy/tiers.js";
import {computeFigures, formatFigures} from "./demo-report.js";
import {runCaches} from "./demo-run.js";
import {collect, modelHelp, wholeNumber} from "./options.js";
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
        .option("--model <path>", modelHelp)
        .option("--tier <name>", "tier to show, repeatable (default: the policy's default tier and those it defines; " +
            `without a policy ${defaultTiers.join(" and ")})`, collect)
        .option("--policy <file>", "policy file (JSON) or built-in tier (default: DELTASTORE_POLICY)")
        .option("--threads <n>", "threads to compute with", wholeNumber(1, 1024))
        .option("--json", "print JSON")
        .action(demo);
}

async function demo({model, tier, policy = policyFromEnvironment(process.env), threads, json}: DemoOptions): Promise<void> {
    const loaded = loadPolicy(policy);
    const own = [...loaded.tiers.keys()].filter((name) => !builtInTiers.has(name));
    const tiers = new Set(tier ?? (policy === undefined ? defaultTiers : [loaded.defaultTier, ...own]));
    for (const name of tiers) resolveTier(loaded, name);

    // Stock beside stock would show nothing, so what can't be served is an error, whatever the policy says.
    // Without sharing, no round finds what another one has evaluated.
    const alone = {...readPolicy(policy), sharing: {automatic: false}};
    const runtime = await openRuntime({model, policy: alone, threads, quiet: json, onUnsupported: "error"});
    try {
        const figures = computeFigures(await runCaches(runtime, [...tiers], json ? () => undefined : printNote));
        if (json) printJson({model: runtime.modelPath, threads: runtime.threads, caches: figures});
        else printLine(`\n${formatFigures(figures)}`);
    } finally {
        await runtime.close();
    }
}
