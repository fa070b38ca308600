import {readdirSync, readFileSync} from "node:fs";
import t from "tap";
import {codeOf} from "../support/engine.js";
import {createSmall, instancePrompt, openInstance} from "../support/instances.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(180_000);

interface Usage {
    memory: number;
    files: number;
    threads: number;
    mappings: number;
}

function usage(): Usage {
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return {
        memory: Number(kilobytes) * 1024,
        files: readdirSync("/proc/self/fd").length,
        threads: readdirSync("/proc/self/task").length,
        mappings: readFileSync("/proc/self/maps", "utf8").split("\n").length
    };
}

async function growth(rounds: number, warmUp: number, round: () => Promise<void>): Promise<Usage> {
    for (let i = 0; i < warmUp; i++) await round();
    const before = usage();
    for (let i = 0; i < rounds; i++) await round();
    const after = usage();
    return {
        memory: after.memory - before.memory, files: after.files - before.files,
        threads: after.threads - before.threads, mappings: after.mappings - before.mappings
    };
}

t.test("opening and closing leaves nothing behind", async (t) => {
    const {llama, model} = await openInstance();
    t.teardown(() => llama.dispose());
    const contexts = await growth(120, 150, async () => {
        const context = await createSmall(model, "high", {sequences: 2});
        const [first, second] = [context.getSequence(), context.getSequence()];
        await first.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await second.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await context.dispose();
    });
    // With the stock cache it grows by as much, until malloc's arenas have their size. Pages that leak would be 150 MB, compute
    // buffers more.
    t.ok(contexts.memory < 40e6 && contexts.files <= 2 && contexts.threads <= 2 && contexts.mappings < 40, "contexts", contexts);

    const models = await growth(12, 4, async () => {
        const model = await loadTiny(llama, "qwen2-biases");
        const context = await createSmall(model, "exact");
        await context.getSequence().evaluateWithoutGeneratingNewTokens(instancePrompt.slice(0, 20));
        await model.dispose();
    });
    t.ok(models.memory < 25e6 && models.files <= 2 && models.threads <= 2 && models.mappings < 40, "models", models);

    const refused = await loadTiny(llama, "mamba");
    const refusals = await growth(60, 20, async () => {
        if (await codeOf(createSmall(refused, "high")) !== "MODEL_UNSUPPORTED") throw new Error("mamba was served");
    });
    t.ok(refusals.memory < 25e6 && refusals.files <= 2 && refusals.threads <= 2 && refusals.mappings < 40, "refusals", refusals);

    const context = await createSmall(model, "high", {sequences: 2});
    const sequences = await growth(60, 20, async () => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await sequence.eraseContextTokenRanges([{start: 20, end: 60}]);
        await sequence.evaluateWithoutGeneratingNewTokens(instancePrompt.slice(1, 9));
        await sequence.dispose();
    });
    t.ok(sequences.memory < 15e6 && sequences.files <= 2 && sequences.mappings < 40, "sequences", sequences);
});
