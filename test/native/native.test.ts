import {execFile} from "node:child_process";
import {join} from "node:path";
import {promisify} from "node:util";
import t, {type Test} from "tap";
import {root} from "../support/paths.js";

// The engine's own tests: built here, run plainly with every kernel, and once under the address and undefined-behaviour sanitizers.
t.setTimeout(1_500_000);  // two builds, the second with sanitizers

const run = promisify(execFile);
/** `kernels`, `packing` and `conversions` go through all kernels themselves; the others run on the one that DELTASTORE_KERNEL names. */
const ofAllKernels = ["conversions", "packing", "kernels"];
const ofOneKernel = ["cache", "attention", "eviction", "state", "state_refusals", "snapshot", "snapshot_restore", "snapshot_refusals", "identity"];
const ofNone = ["pool", "scoring"];

async function build(folder: string, ...options: string[]): Promise<string> {
    const path = join(root, "build", folder);
    await run("cmake", ["-S", root, "-B", path, "-DDELTASTORE_NATIVE_TESTS=ON", ...options]);
    await run("cmake", ["--build", path, "--parallel", "2"], {maxBuffer: 1 << 26});
    return path;
}

async function lines(folder: string, name: string, kernel?: string): Promise<string[]> {
    const env = {...process.env};
    delete env.DELTASTORE_KERNEL;
    if (kernel !== undefined) env.DELTASTORE_KERNEL = kernel;
    const command = join(folder, `${name}_test`);
    const result = await run(command, [], {env, maxBuffer: 1 << 26}).catch((error: {stdout?: string; stderr?: string; code?: unknown; signal?: unknown}) => {
        const how = `\n# ended with ${String(error.signal ?? error.code)}\n${error.stderr ?? ""}`;
        return {stdout: (error.stdout ?? "") + how, stderr: ""};
    });
    return result.stdout.split("\n");
}

/** Every `ok` and `not ok` line as an assertion, and that the program came to its end. */
function report(t: Test, output: readonly string[]): void {
    let seen = 0;
    for (const line of output) {
        const found = /^(not )?ok (.*)$/.exec(line);
        if (!found) continue;
        seen++;
        t.ok(found[1] === undefined, found[2] ?? "");
    }
    const last = output.map((line) => /^(\d+) passed, (\d+) failed$/.exec(line)).find((match) => match !== null);
    if (!last || Number(last[1]) + Number(last[2]) !== seen) t.fail("the program did not come to its end", {output: output.slice(-40).join("\n")});
}

t.test("the native tests pass with every kernel", async (t) => {
    const folder = await build("native-tests");
    const kernelTests = await lines(folder, "kernels");
    const kernels = kernelTests.find((line) => line.startsWith("# kernels:"))?.split(" ").slice(2) ?? [];
    t.ok(kernels.includes("scalar"), `kernels that run here: ${kernels.join(", ")}`);
    for (const name of [...ofAllKernels, ...ofNone])
        await t.test(name, async (t) => report(t, name === "kernels" ? kernelTests : await lines(folder, name)));
    for (const kernel of kernels)
        for (const name of ofOneKernel) await t.test(`${name}, ${kernel}`, async (t) => report(t, await lines(folder, name, kernel)));
});

t.test("the native tests pass under the address and undefined-behaviour sanitizers", async (t) => {
    const folder = await build("native-sanitized", "-DDELTASTORE_SANITIZE=address,undefined");
    for (const name of [...ofAllKernels, ...ofNone, ...ofOneKernel])
        await t.test(name, async (t) => report(t, await lines(folder, name)));
});
