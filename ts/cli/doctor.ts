import type {Command} from "commander";
import type {RuntimeReport} from "../store/doctor.js";
import {DeltaStoreError} from "../errors.js";
import {verifyGguf} from "../models/gguf.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import type {Policy} from "../policy/tiers.js";
import {exitCodes, printJson, printLine} from "./output.js";

interface DoctorOptions {
    model?: string;
    json?: boolean;
}

interface ModelReport {
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
        .option("--model <path>", "also check this GGUF file")
        .option("--json", "print JSON")
        .action(doctor);
}

async function doctor({model: modelPath, json}: DoctorOptions): Promise<void> {
    const {runtimeReport} = await import("../store/doctor.js");
    const runtime = await runtimeReport();
    const policy = examinePolicy(policyFromEnvironment(process.env));
    const model = modelPath === undefined ? null : await examineModel(modelPath, runtime.engineLoads);
    const healthy = runtime.engineLoads && policy?.problem == null && model?.supported !== false;
    if (json) printJson({healthy, runtime, policy, model});
    else printReport(runtime, policy, model);
    if (!healthy) process.exitCode = exitCodes.failure;
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

/** A failure with a code is part of the report, and does not end the command. */
async function examineModel(path: string, engineLoads: boolean): Promise<ModelReport> {
    const {describeModel} = await import("../store/doctor.js");
    try {
        await verifyGguf(path);
        if (!engineLoads) return {path, supported: null, reason: "the engine isn't usable", code: null};
        const {openRuntime} = await import("./runtime.js");
        const runtime = await openRuntime({model: path});
        try {
            return {path, ...await describeModel(runtime.store, runtime.model)};
        } finally {
            await runtime.close();
        }
    } catch (error) {
        if (!(error instanceof DeltaStoreError)) throw error;
        return {path, supported: false, reason: error.message, code: error.code};
    }
}

function printReport(runtime: RuntimeReport, policy: PolicyReport | null, model: ModelReport | null): void {
    const {problem, binary, kernels, libraries} = runtime;
    const tested = runtime.supportedVersions.map(({nodeLlamaCpp, llamaCpp}) => `${nodeLlamaCpp} (llama.cpp ${llamaCpp})`);
    printItem("node-llama-cpp", runtime.nodeLlamaCppVersion);
    printItem("llama.cpp", runtime.llamaCppRelease);
    printItem("supported", runtime.supported ? "yes" : `no; this build was tested with ${tested.join(", ")}`);
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
    if (model === null) return;
    printItem("model", model.path);
    printItem("", model.supported === null ? `not tried: ${model.reason}` : model.supported ? "supported" : `not supported (${model.code ?? "no code"}): ${model.reason ?? ""}`);
}

function printItem(label: string, text: string): void {
    printLine(text.split("\n").map((line, index) => `${(index === 0 ? label : "").padEnd(16)}${line}`).join("\n"));
}
