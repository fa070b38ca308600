import t from "tap";
import {generate, openLlama} from "../support/engine.js";
import {createSmall, instancePrompt, openInstance} from "../support/instances.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(180_000);

t.test("estimates are of the packed cache, and contextSize \"auto\" works", async (t) => {
    const bare = await openLlama();
    const bareModel = await loadTiny(bare);
    const {llama, model} = await openInstance();
    t.teardown(() => Promise.all([bare.dispose(), llama.dispose()]));
    const options = {contextSize: 16_384, batchSize: 256, modelGpuLayers: 0};
    const truth = (await createSmall(bareModel, undefined!, options)).memoryUsage.ram;
    const estimate = await bareModel.fileInsights.estimateContextResourceRequirementsV2({...options, flashAttention: "auto"});

    const usages = new Map<string, number>();
    for (const tier of ["high", "stock", "conservative", "compact", "exact", "high"]) {
        const context = await createSmall(model, tier, options);
        usages.set(tier, context.memoryUsage.ram);
        await context.dispose();
    }
    t.equal(usages.get("stock"), truth, "stock's own figure is as without the package");
    const cells = 16_384 * 3 * 2 * (128 + 128) * 2;
    t.ok(usages.get("high")! < truth - cells / 2, "a packed context's is smaller", Object.fromEntries(usages));
    const ours = ["compact", "conservative", "high", "exact"].map((tier) => usages.get(tier)!);
    t.strictSame(ours, [...ours].sort((a, b) => a - b), "and the fewer bits, the less");
    t.strictSame(await model.fileInsights.estimateContextResourceRequirementsV2({...options, flashAttention: "auto"}), estimate,
        "stock's estimate is as without the package, after packed contexts were estimated");

    for (const tier of ["high", "stock"]) {
        const context = await createSmall(model, tier, {contextSize: "auto"});
        t.ok(context.contextSize >= 256, `${tier} with "auto": ${context.contextSize} tokens`);
        t.equal((await generate(context.getSequence(), instancePrompt, 5)).length, 5);
        await context.dispose();
    }
    const ranged = await createSmall(model, "high", {contextSize: {min: 300, max: 700}});
    t.ok(ranged.contextSize >= 300 && ranged.contextSize <= 1024);
});
