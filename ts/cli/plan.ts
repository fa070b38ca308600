import {writeFileSync} from "node:fs";
import {InvalidArgumentError, Option, type Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import type {PlanFile} from "../plan/plan-file.js";
import {given} from "../options.js";
import {nameList, wholeNumber} from "./options.js";
import {printJson, printLine, printNote} from "./output.js";

interface PlanCommandOptions {
    preset?: string;
    model?: string;
    users?: number;
    active?: number;
    tokens?: number;
    shared?: number;
    caches?: string[];
    machine?: string;
    weights?: "replicated" | "sharded";
    region?: string;
    measure?: boolean;
    json?: boolean;
    csv?: boolean;
    svg?: string;
}

/** Adds `plan`. */
export function addPlanCommand(program: Command): void {
    program.command("plan")
        .description("say what a fleet takes that serves so many users, with stock's caches and with tiers: memory, GPUs, money, energy, carbon and water")
        .argument("[scenario]", "scenario file (JSON), see config-schema/plan.schema.json")
        .option("--preset <name>", "a scenario of the papers, such as papers-2k")
        .option("--model <name, file or URL>", "a model's shape by name, or a GGUF file, of which only the header is read (default: llama-3-8b)")
        .option("--users <n>", "users (default: 1000)", wholeNumber(1, 1e9))
        .option("--active <share>", "share of users that are active at once (default: 0.2)", share)
        .option("--tokens <n>", "tokens of a conversation (default: 4096)", wholeNumber(1, 2 ** 24))
        .option("--shared <n>", "its first tokens, which all conversations have in common (default: 0)", wholeNumber(0, 2 ** 24))
        .option("--caches <names>", "stock-f16, stock-q8_0, stock-q4_0 and tiers; commas between them (default: all)", nameList)
        .option("--machine <name>", "GPU or server (default: h100)")
        .option("--weights <how>", "replicated or sharded (default: replicated)")
        .option("--region <name>", "region (default: us)")
        .option("--measure", "fill the scenario's contexts on this machine, for measured bytes; the model has to be a file")
        .addOption(new Option("--json", "print JSON").conflicts("csv"))
        .option("--csv", "print CSV, a line a cache")
        .option("--svg <file>", "also draw GPUs and yearly cost over users, and one user's memory by part")
        .action(planFleet);
}

async function planFleet(scenario: string | undefined, {measure = false, json = false, csv = false, svg, ...options}: PlanCommandOptions): Promise<void> {
    const [{plan}, {readScenario}] = await Promise.all([import("../plan/plan.js"), import("../plan/load.js")]);
    if (measure && (options.model ?? scenario) !== undefined && !json && !csv) printNote("Contexts are filled, tier by tier. This takes as long as evaluating so many tokens does.");
    const report = await plan(readScenario(scenario, await scenarioOf({...options, measure})), {measure});
    if (json) printJson(report);
    else if (csv) process.stdout.write((await import("../plan/csv.js")).planCsv(report));
    else printLine((await import("./plan-report.js")).formatPlan(report));
    if (svg !== undefined) draw(svg, (await import("../plan/picture.js")).planPicture(report));
}

function draw(path: string, picture: string): void {
    try {
        writeFileSync(path, picture);
    } catch (error) {
        throw new DeltaStoreError("OPTION_INVALID", `--svg: ${path} can't be written: ${(error as Error).message}`, {cause: error});
    }
}

/** As a scenario, which counts more than the file. */
async function scenarioOf({preset, model, users: count, active, tokens, shared: sharedTokens, caches, machine, weights, region, measure}: PlanCommandOptions): Promise<PlanFile> {
    const {shapes} = await import("../plan/facts.js");
    // A shape has no rows to measure.
    const isShape = model !== undefined && measure !== true && Object.hasOwn(shapes(), model);
    const parts = {
        model: given(model === undefined ? {} : isShape ? {name: model} : {file: model}), users: given({count, active}), context: given({tokens, sharedTokens}),
        machine: given({name: machine, weights}), region: given({name: region})
    };
    return given({preset, caches, ...Object.fromEntries(Object.entries(parts).filter(([, fields]) => Object.keys(fields).length > 0))}) as PlanFile;
}

function share(text: string): number {
    const value = Number(text);
    if (text.trim() === "" || !(value >= 0 && value <= 1)) throw new InvalidArgumentError("Give a number from 0 to 1.");
    return value;
}
