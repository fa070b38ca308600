import {execFile} from "node:child_process";
import {existsSync} from "node:fs";
import {join} from "node:path";
import {promisify} from "node:util";
import type {Test} from "tap";
import {root} from "./paths.js";

const run = promisify(execFile);
/** `kernels`, `packing` and `conversions` go through all kernels themselves; the others run on the one that DELTASTORE_KERNEL names. */
export const ofAllKernels = ["conversions", "packing", "kernels"];
export const ofOneKernel = ["cache", "attention", "eviction", "state", "state_refusals", "snapshot", "snapshot_restore", "snapshot_refusals", "identity", "archive", "vector_codec"];
export const ofNone = ["pool", "scoring", "channel_codec"];

const endedWith = "# ended with";

/** The addon's engine, as its sources are now. Null where the addon was not built here. */
export async function builtEngine(): Promise<string | null> {
    const addon = join(root, "build/native");
    if (!existsSync(join(addon, "CMakeCache.txt"))) return null;
    await run("cmake", ["--build", addon, "--target", "deltastore_engine", "--parallel", "2"], {maxBuffer: 1 << 26});
    return join(addon, "libdeltastore_engine.a");
}

export async function build(folder: string, ...options: string[]): Promise<string> {
    const path = join(root, "build", folder);
    await run("cmake", ["-S", root, "-B", path, "-DDELTASTORE_NATIVE_TESTS=ON", ...options]);
    await run("cmake", ["--build", path, "--parallel", "2"], {maxBuffer: 1 << 26});
    return path;
}

export async function lines(folder: string, name: string, kernel?: string): Promise<string[]> {
    const env = {...process.env};
    delete env.DELTASTORE_KERNEL;
    if (kernel !== undefined) env.DELTASTORE_KERNEL = kernel;
    const command = join(folder, `${name}_test`);
    const result = await run(command, [], {env, maxBuffer: 1 << 26}).catch((error: {stdout?: string; stderr?: string; code?: unknown; signal?: unknown}) => {
        const how = `\n${endedWith} ${String(error.signal ?? error.code)}\n${error.stderr ?? ""}`;
        return {stdout: (error.stdout ?? "") + how, stderr: ""};
    });
    return result.stdout.split("\n");
}

/** Every `ok` and `not ok` line as an assertion, and that the program came to its end. A sanitizer finds leaks behind the last line. */
function report(t: Test, output: readonly string[]): void {
    let seen = 0;
    for (const line of output) {
        const found = /^(not )?ok (.*)$/.exec(line);
        if (!found) continue;
        seen++;
        t.ok(found[1] === undefined, found[2] ?? "");
    }
    const last = output.map((line) => /^(\d+) passed, (\d+) failed$/.exec(line)).find((match) => match !== null);
    const cameToEnd = seen > 0 && last !== undefined && Number(last[1]) + Number(last[2]) === seen;
    const endedWell = Number(last?.[2]) > 0 || !output.some((line) => line.startsWith(endedWith));
    if (!cameToEnd || !endedWell) t.fail("the program did not come to its end, or ended badly", {output: output.slice(-40).join("\n")});
}

interface Program {
    name: string;
    kernel?: string;
}

/** Runs programs, two at a time as CI has two cores, and then reports each as a subtest. */
export async function reportAll(t: Test, folder: string, programs: readonly Program[]): Promise<void> {
    const outputs: string[][] = [], queue = programs.entries();
    const runNext = async () => {
        for (const [index, {name, kernel}] of queue) outputs[index] = await lines(folder, name, kernel);
    };
    await Promise.all([runNext(), runNext()]);
    for (const [index, {name, kernel}] of programs.entries())
        await t.test(kernel === undefined ? name : `${name}, ${kernel}`, async (t) => report(t, outputs[index]!));
}

export const named = (names: readonly string[]): Program[] => names.map((name) => ({name}));
