import {spawnSync} from "node:child_process";
import {readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {gunzipSync} from "node:zlib";
import type {Test} from "tap";
import {changedCopy} from "./changed-gguf.js";
import {divergence} from "./logits.js";
import {root} from "./paths.js";
import {tinyPath} from "./tiny-engine.js";

export interface GpuRun {
    /** A tiny model's name. */
    model: string;
    gpuLayers: number | "max";
}

interface Result {
    packed: boolean;
    tokens: number[];
    /** Of the token after the prompt. */
    logits: number[];
    /** The same of `exact` behind a prompt that lost its tokens 10 to 19. */
    shifted?: {held: number; logits: number[]};
}

interface Outcome {
    results: ({gpuLayers: number; carried: {here: number[]; there: number[]}} & Record<"stock" | "exact" | "high" | "cpu", Result>)[];
    choices: Record<"host" | "stock" | "error", boolean | string>;
    reads: string[];
    warnings: string[];
}

/** KL divergence, in nats, that rounding may make. Mesa's driver also adds halves. */
const mostDivergence = {cuda: 1e-4, vulkan: 2e-3};

function runFixture<T>(t: Test, environment: Record<string, string>, argument: object, pattern: RegExp): T {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const {status, signal, stdout, stderr} = spawnSync(process.execPath, [join(root, "test/fixtures/gpu-layers.mjs"), JSON.stringify(argument)], {
        encoding: "utf8", timeout: 560_000, cwd: root, env: {...env, ...environment}
    });
    t.equal(status, 0, "the process ends well", {stderr, signal});
    return JSON.parse(pattern.exec(stdout)?.[0] ?? "null") as T;
}

const withPaths = (runs: readonly GpuRun[]) => Promise.all(runs.map(async ({model, gpuLayers}) => ({modelPath: await tinyPath(model), gpuLayers})));

function near(t: Test, most: number, found: readonly number[], expected: readonly number[], what: string): void {
    const kld = divergence(Float32Array.from(expected), Float32Array.from(found));
    t.ok(kld < most, what, {kld, most});
}

/** A state file of the version before, whose origin is a fingerprint of F32 weights; its model; and one that differs in such a weight. */
async function earlierState(t: Test): Promise<{state: string; readBy: string[]}> {
    const folder = t.testdir(), state = join(folder, "state.bin"), other = join(folder, "other.gguf"), modelPath = await tinyPath("llama-wide-group");
    writeFileSync(state, gunzipSync(readFileSync(join(root, "test/fixtures/version-1/state.bin.gz"))));
    changedCopy(modelPath, other, "blk.1.attn_norm.weight");
    return {state, readBy: [modelPath, other]};
}

/** With layers on a GPU, `exact` gives stock's tokens and those of the processor alone, states fit, and the policy's `gpuLayers` counts. */
export async function checkGpuLayers(t: Test, gpu: "cuda" | "vulkan", environment: Record<string, string>, runs: readonly GpuRun[]): Promise<void> {
    const {results, choices, reads, warnings} = runFixture<Outcome>(t, environment, {gpu, runs: await withPaths(runs), ...await earlierState(t)}, /^\{.*\}$/m);
    const most = mostDivergence[gpu];
    t.equal(results.length, runs.length);
    for (const [index, {gpuLayers, stock, exact, high, cpu, carried}] of results.entries()) {
        const {model, gpuLayers: asked} = runs[index]!, name = `${model}, ${asked} layers`;
        t.ok(asked === "max" ? gpuLayers > 0 : gpuLayers === asked, `${name}: ${gpuLayers} layers are on the GPU`);
        t.ok(exact.packed && high.packed && !stock.packed, `${name}: packed`);
        t.strictSame(exact.tokens, stock.tokens, `${name}: exact gives stock's tokens`);
        near(t, most, exact.logits, stock.logits, `${name}: exact gives stock's logits`);
        near(t, most, exact.logits, cpu.logits, `${name}: and those of the processor alone`);
        t.equal(exact.shifted!.held, 14, `${name}: tokens can be erased`);
        near(t, most, exact.shifted!.logits, cpu.shifted!.logits, `${name}: keys behind them are turned as on the processor`);
        t.equal(high.tokens.length, stock.tokens.length, `${name}: high`);
        t.strictSame(carried.there, carried.here, `${name}: a state that was saved with layers on the GPU goes on without`);
    }
    t.strictSame(reads, ["read", "STATE_MODEL_MISMATCH"], "fingerprints are of the weights on the GPU");
    t.strictSame(choices, {host: true, stock: false, error: "GPU_LAYERS_UNSUPPORTED"}, "the policy's gpuLayers");
    t.strictSame(warnings.filter((code) => code?.startsWith("DELTASTORE_")), ["DELTASTORE_GPU_LAYERS_UNSUPPORTED", "DELTASTORE_ORIGIN_UNKNOWN"]);
}

/** The tokens of one context, whose cache is `attends`. */
export async function generateOnGpu(t: Test, gpu: "cuda" | "vulkan", environment: Record<string, string>, attends: string, run: GpuRun): Promise<number[]> {
    return runFixture<number[]>(t, environment, {gpu, attends, runs: await withPaths([run])}, /^\[.*\]$/m);
}
