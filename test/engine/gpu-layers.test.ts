import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {checkGpuLayers} from "../support/gpu-layers.js";
import {root} from "../support/paths.js";

// node-llama-cpp's Vulkan binary on Mesa's software driver: layers on a GPU, on machines that have none.

/** The environment that uses the driver, or why there is none: it is taken from Debian's packages. */
function softwareVulkan(): Record<string, string> | string {
    const {status, stdout, stderr} = spawnSync(join(root, "scripts/software-vulkan.sh"), [join(root, "build/software-vulkan")], {encoding: "utf8"});
    if (status !== 0) return `there is no software driver: ${stderr}`;
    return Object.fromEntries(stdout.trim().split("\n").map((line) => line.split("="))) as Record<string, string>;
}

const driver = softwareVulkan();

t.setTimeout(600_000);

t.test("with layers on a GPU, a packed cache in the machine's memory gives stock's tokens", {skip: typeof driver === "string" && driver}, async (t) => {
    await checkGpuLayers(t, "vulkan", driver as Record<string, string>, [
        {model: "llama-rope-factors", gpuLayers: "max"},
        {model: "llama-rope-factors", gpuLayers: 2},
        {model: "gemma3", gpuLayers: "max"},
        {model: "lfm2", gpuLayers: "max"}
    ]);
});
