import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

// node-llama-cpp's Vulkan binary on Mesa's software driver: layers on a GPU, on machines that have none.

const models = ["llama-rope-factors", "gemma3", "lfm2"];

/** The environment that uses the driver, or why there is none: it is taken from Debian's packages. */
function softwareVulkan(): Record<string, string> | string {
    const {status, stdout, stderr} = spawnSync(join(root, "scripts/software-vulkan.sh"), [join(root, "build/software-vulkan")], {encoding: "utf8"});
    if (status !== 0) return `there is no software driver: ${stderr}`;
    return Object.fromEntries(stdout.trim().split("\n").map((line) => line.split("="))) as Record<string, string>;
}

const driver = softwareVulkan();

interface Outcome {
    results: {gpuLayers: number; packed: boolean; shifted: number; stock: number[]; exact: number[]; high: number[]}[];
    choices: Record<"host" | "stock" | "error", boolean | string>;
    warnings: string[];
}

t.setTimeout(300_000);

t.test("with layers on a GPU, a packed cache in the machine's memory gives stock's tokens", {skip: typeof driver === "string" && driver}, async (t) => {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const paths = await Promise.all(models.map(tinyPath));
    const {status, stdout, stderr} = spawnSync(process.execPath, [join(root, "test/fixtures/gpu-layers.mjs"), ...paths], {
        encoding: "utf8", timeout: 240_000, cwd: root, env: {...env, ...driver as Record<string, string>}
    });
    t.equal(status, 0, stderr);
    const {results, choices, warnings} = JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? "null") as Outcome;
    for (const [index, {gpuLayers, packed, shifted, stock, exact, high}] of results.entries()) {
        const name = models[index]!;
        t.ok(gpuLayers > 0 && packed, `${name}: ${gpuLayers} layers are on the GPU`);
        t.strictSame(exact, stock, `${name}: exact`);
        t.equal(high.length, stock.length, `${name}: high`);
        t.equal(shifted, 14, `${name}: tokens can be erased`);
    }
    t.strictSame(choices, {host: true, stock: false, error: "GPU_LAYERS_UNSUPPORTED"}, "the policy's gpuLayers");
    t.strictSame(warnings.filter((code) => code?.startsWith("DELTASTORE_")), ["DELTASTORE_GPU_LAYERS_UNSUPPORTED"]);
});
