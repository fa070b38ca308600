import type {Command} from "commander";
import type {RuntimeReport} from "../store/doctor.js";
import {DeltaStoreError} from "../errors.js";
import {isUrl, withRemoteHeader} from "../models/remote-header.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import {builtInTiers, defaultTierName, resolveTier, type Policy, type Tier} from "../policy/tiers.js";
import type {ModelReport, SequenceBytes} from "../store/model-report.js";
import {exitCodes, formatTable, printJson, printLine} from "./output.js";
import {getModelPath} from "./runtime.js";

interface DoctorOptions {
    model?: string;
    json?: boolean;
}

/** Without the report's part: it could not be tried, or llama.cpp can't load it. */
interface ModelAnswer extends Partial<Omit<ModelReport, "supported" | "reason" | "code">> {
    path: string;
    /** Null if it could not be tried. */
    supported: boolean | null;
    reason: string | null;
    code: string | null;
}

/** What DELTASTORE_POLICY names. */
interface PolicyReport {
    source: string;
    defaultTier: string | null;
    gpuLayers: Policy["gpuLayers"] | null;
    problem: {code: string; message: string} | null;
}

/** Adds `doctor`. */
export function addDoctorCommand(program: Command): void {
    program.command("doctor")
        .description("say whether this machine, its node-llama-cpp and a model can use the packed cache, or why not")
        .option("--model <file, URL or name>", "also say whether this GGUF model is served and what there is to win; of a URL only the header is fetched")
        .option("--json", "print JSON")
        .action(doctor);
}

async function doctor({model: modelPath, json}: DoctorOptions): Promise<void> {
    const {runtimeReport} = await import("../store/doctor.js");
    const runtime = await runtimeReport();
    const policySource = policyFromEnvironment(process.env), policy = examinePolicy(policySource);
    const tier = policy?.problem == null ? defaultTierOf(policySource) : builtInTiers.get(defaultTierName)!;
    const model = modelPath === undefined ? null : await examineModel(modelPath, {tier, engineLoads: runtime.engineLoads, quiet: json === true});
    const healthy = runtime.engineLoads && policy?.problem == null && (model === null || model.supported === true);
    if (json) printJson({healthy, runtime, policy, model});
    else printReport(runtime, policy, model);
    if (!healthy) process.exitCode = exitCodes.failure;
}

function defaultTierOf(source: string | undefined): Tier {
    const policy = loadPolicy(source);
    return resolveTier(policy, policy.defaultTier);
}

function examinePolicy(source: string | undefined): PolicyReport | null {
    if (source === undefined) return null;
    try {
        const {defaultTier, gpuLayers} = loadPolicy(source);
        return {source, defaultTier, gpuLayers, problem: null};
    } catch (error) {
        if (!(error instanceof DeltaStoreError)) throw error;
        return {source, defaultTier: null, gpuLayers: null, problem: {code: error.code, message: error.message}};
    }
}

/** What layers on a GPU mean for the cache, by the policy's `gpuLayers`. */
const gpuHints: Record<Policy["gpuLayers"], string> = {
    host: "with layers on it, the cache stays in the machine's memory, and the processor computes the attention. Each token's queries, keys, values and\n" +
        "results cross between the two in every such layer. The policy's `gpuLayers: \"stock\"` leaves such contexts the stock cache, on the GPU",
    stock: "with layers on it, contexts get the stock cache (the policy's `gpuLayers`)",
    error: "with layers on it, contexts are refused (the policy's `gpuLayers`)"
};

/** Failures that say nothing of the model. */
const untried: readonly unknown[] = ["MODEL_NOT_FOUND", "MODEL_DOWNLOAD_FAILED"];

/** A failure with a code is part of the report, and does not end the command. */
async function examineModel(path: string, {tier, engineLoads, quiet}: {tier: Tier; engineLoads: boolean; quiet: boolean}): Promise<ModelAnswer> {
    const {reportModel} = await import("../store/model-report.js");
    try {
        if (!engineLoads) return {path, supported: null, reason: "the engine isn't usable", code: null};
        if (isUrl(path)) return {path, ...await withRemoteHeader(path, (header) => reportModel(header, tier))};
        const file = await getModelPath(path, quiet);
        return {path: file, ...await reportModel(file, tier)};
    } catch (error) {
        if (!(error instanceof DeltaStoreError)) throw error;
        return {path, supported: untried.includes(error.code) ? null : false, reason: error.message, code: error.code};
    }
}

function printReport(runtime: RuntimeReport, policy: PolicyReport | null, model: ModelAnswer | null): void {
    const {problem, binary, kernels, libraries} = runtime;
    const served = runtime.supportedVersions.map(({nodeLlamaCpp, llamaCpp}) => `${nodeLlamaCpp} (llama.cpp ${llamaCpp})`);
    printItem("node-llama-cpp", runtime.nodeLlamaCppVersion);
    printItem("llama.cpp", runtime.llamaCppRelease);
    printItem("supported", !runtime.supported ? "no" : runtime.tested ? "yes" : "yes; it is newer than what this build was tested with, and passed the self-test");
    printItem("served", `${served.join(", ")}; newer releases have to pass a self-test`);
    printItem("engine", `${binary ?? "neither prebuilt nor built"}${runtime.engineLoads ? "" : "; not usable"}`);
    printItem("kernels", kernels === null ? "unknown, the engine isn't loaded"
        : kernels.available.map((name) => name === kernels.selected ? `${name} (in use)` : name).join(", "));
    if (problem !== null) printItem("problem", `${problem.code}: ${problem.message}`);
    printItem("libraries", libraries.length === 0 ? "none loaded" : libraries.join("\n"));
    if (runtime.gpus.length > 0) printItem("gpu", `${runtime.gpus.join(", ")}\n${gpuHints[policy?.gpuLayers ?? "host"]}`);
    if (policy !== null) {
        printItem("policy", policy.source);
        printItem("", policy.problem === null ? `valid; the default tier is ${policy.defaultTier}`
            : `${policy.problem.code}: ${policy.problem.message}`);
    }
    if (model !== null) printModel(model);
}

function printModel(model: ModelAnswer): void {
    printItem("model", model.path);
    const refusal = `${model.supported === null ? "not tried" : "not served"}${model.code === null ? "" : ` (${model.code})`}: ${model.reason ?? ""}`;
    printItem("", model.supported === true ? "served" : refusal);
    if (model.memory === undefined) return;
    const {architecture, memory, trainedTokens, layers, window, limits, memoryBytes} = model as ModelReport;
    printItem("architecture", `${architecture}, trained with ${trainedTokens.toLocaleString("en")} tokens`);
    printItem("memory", memory.description);
    const parts = [
        [layers.attention, "attend to all tokens"], [layers.window, `have a window of ${window.toLocaleString("en")} tokens`], [layers.recurrent, "are recurrent"],
        [layers.all - layers.attention - layers.window - layers.recurrent, "have no rows of their own"]
    ] as const;
    printItem("layers", `${layers.all}: ${parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`).join(", ")}`);
    if (limits.length > 0) printItem("limits", limits.join("\n"));
    if (memoryBytes.length > 0) printItem("one sequence", formatSequenceBytes(memoryBytes));
}

/** MiB of one sequence: a column for each length, a line for each cache. */
function formatSequenceBytes(all: readonly SequenceBytes[]): string {
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const line = (name: string, bytes: (of: SequenceBytes) => number) =>
        [name, ...all.map((of) => `${mib(bytes(of))}${name.startsWith("stock") ? "        " : ` (${(of.stockBytes / bytes(of)).toFixed(2)}x)`.padStart(8)}`)];
    return formatTable([
        ["tokens", ...all.map(({tokens}) => `${tokens.toLocaleString("en")}        `)],
        line("stock F16", ({stockBytes}) => stockBytes),
        ...Object.keys(all[0]!.tiers).map((name) => line(name, ({tiers}) => tiers[name as keyof typeof tiers]!))
    ]) + (all[0]!.bytesBeside > 0 ? `\nof each, ${all.map(({bytesBeside}) => mib(bytesBeside)).join(", ")} are recurrent states` : "") +
        "\nThe figures are computed. In brackets: less memory than stock F16 by.";
}

function printItem(label: string, text: string): void {
    printLine(text.split("\n").map((line, index) => `${(index === 0 ? label : "").padEnd(16)}${line}`).join("\n"));
}
