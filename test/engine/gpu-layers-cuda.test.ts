import {join} from "node:path";
import t from "tap";
import {cudaMock, readMockReport, whyNoCuda} from "../support/cuda-mock.js";
import {checkGpuLayers, generateOnGpu} from "../support/gpu-layers.js";

// node-llama-cpp's CUDA binaries on a device without a GPU (test/cuda-mock), which runs the kernels that are in them.

t.setTimeout(900_000);

t.test("with layers on a GPU, a packed cache in the machine's memory gives stock's tokens: CUDA 13", {skip: whyNoCuda(13)}, async (t) => {
    await checkGpuLayers(t, "cuda", await cudaMock(13), [
        {model: "llama-rope-factors", gpuLayers: "max"},
        {model: "llama-rope-factors", gpuLayers: 2},
        {model: "gemma3", gpuLayers: "max"},
        {model: "lfm2", gpuLayers: "max"}
    ]);
});

t.test("the same with the library for CUDA 12, on an older device whose blocks and warps run in reverse", {skip: whyNoCuda(12)}, async (t) => {
    await checkGpuLayers(t, "cuda", {...await cudaMock(12), CUDA_MOCK_CAPABILITY: "75", CUDA_MOCK_ORDER: "reverse"}, [{model: "llama-rope-factors", gpuLayers: "max"}]);
});

t.test("the device computes all but the attention over packed rows", {skip: whyNoCuda(13)}, async (t) => {
    const folder = t.testdir(), run = {model: "llama-head-128", gpuLayers: "max"} as const;
    const reportOf = async (cache: string) => {
        const path = join(folder, `${cache}.json`);
        const tokens = await generateOnGpu(t, "cuda", {...await cudaMock(13), CUDA_MOCK_REPORT: path}, cache, run);
        const report = readMockReport(path);
        const ran = (pattern: RegExp) => Object.entries(report.kernels).reduce((sum, [name, times]) => pattern.test(name) ? sum + times : sum, 0);
        return {tokens, report, attention: ran(/flash_attn/), rows: ran(/k_set_rows/), products: ran(/mul_mat/), around: {norms: ran(/rms_norm/), rotations: ran(/rope_/)}};
    };
    const stock = await reportOf("stock"), exact = await reportOf("exact");
    t.strictSame(exact.tokens, stock.tokens);
    t.ok(stock.attention > 0 && stock.rows > 0, "stock attends and stores rows on the device");
    t.equal(exact.attention + exact.rows, 0, "a packed cache does neither there");
    t.strictSame(exact.around, stock.around, "norms and rotations run there, as they do for stock");
    t.ok(exact.around.rotations > 0 && exact.products > 0, "and products of matrices");
    t.ok(exact.report.deviceToHost >= stock.report.deviceToHost + 3 * 3 * 4, "queries, keys and values of 3 layers come down for each of 4 batches");
});
