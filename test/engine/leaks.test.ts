import {readdirSync, readFileSync} from "node:fs";
import t from "tap";
import {codeOf} from "../support/engine.js";
import {collectGarbage} from "../support/garbage.js";
import {createSmall, instancePrompt} from "../support/instances.js";
import {loadTiny, openTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

// A process of its own: whatever else a test does would be counted as growth.
t.setTimeout(180_000);

const {llama, model} = await openTiny(t);

interface Usage {
    memory: number;
    files: number;
    threads: number;
    mappings: number;
}

/** Without garbage: V8's heap takes a mapping for each 256 KiB, and gives it back only when it collects. */
async function usage(): Promise<Usage> {
    for (let collections = 0; collections < 3; collections++) {
        collectGarbage();
        await settled(20);
    }
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return {
        memory: Number(kilobytes) * 1024,
        files: readdirSync("/proc/self/fd").length,
        threads: readdirSync("/proc/self/task").length,
        mappings: readFileSync("/proc/self/maps", "utf8").split("\n").length
    };
}

/** How usage grew over so many rounds. malloc's arenas grow now and then by as much as a leak would, but a leak grows each time: the least of three counts. */
async function growth(rounds: number, warmUp: number, most: number, round: () => Promise<void>): Promise<Usage> {
    for (let i = 0; i < warmUp; i++) await round();
    let before = await usage(), grown: Usage | undefined;
    for (let tries = 0; tries < 3 && (grown === undefined || grown.memory >= most); tries++) {
        for (let i = 0; i < rounds; i++) await round();
        const after = await usage();
        grown = {
            memory: Math.min(after.memory - before.memory, grown?.memory ?? Infinity), files: after.files - before.files,
            threads: after.threads - before.threads, mappings: after.mappings - before.mappings
        };
        before = after;
    }
    return grown!;
}

t.test("contexts that are opened and closed leave nothing behind", async (t) => {
    const grown = await growth(120, 150, 40e6, async () => {
        const context = await createSmall(model, "high", {sequences: 2});
        const [first, second] = [context.getSequence(), context.getSequence()];
        await first.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await second.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await context.dispose();
    });
    t.comment(JSON.stringify(grown));
    // The stock cache grows by as much, until malloc's arenas have their size. Leaked pages would be 150 MB, and compute buffers more.
    t.ok(grown.memory < 40e6 && grown.files <= 2 && grown.threads <= 2 && grown.mappings < 40, "contexts", grown);
});

t.test("models that are loaded and disposed leave nothing behind", async (t) => {
    const grown = await growth(12, 4, 25e6, async () => {
        const model = await loadTiny(llama, "qwen2-biases");
        const context = await createSmall(model, "exact");
        await context.getSequence().evaluateWithoutGeneratingNewTokens(instancePrompt.slice(0, 20));
        await model.dispose();
    });
    t.comment(JSON.stringify(grown));
    t.ok(grown.memory < 25e6 && grown.files <= 2 && grown.threads <= 2 && grown.mappings < 40, "models", grown);
});

t.test("contexts that are refused leave nothing behind", async (t) => {
    const refused = await loadTiny(llama, "mamba");
    const grown = await growth(60, 20, 25e6, async () => {
        if (await codeOf(createSmall(refused, "high")) !== "MODEL_UNSUPPORTED") throw new Error("mamba was served");
    });
    t.comment(JSON.stringify(grown));
    t.ok(grown.memory < 25e6 && grown.files <= 2 && grown.threads <= 2 && grown.mappings < 40, "refusals", grown);
});

t.test("sequences that come and go leave nothing behind", async (t) => {
    const context = await createSmall(model, "high", {sequences: 2});
    const grown = await growth(60, 20, 15e6, async () => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(instancePrompt);
        await sequence.eraseContextTokenRanges([{start: 20, end: 60}]);
        await sequence.evaluateWithoutGeneratingNewTokens(instancePrompt.slice(1, 9));
        await sequence.dispose();
    });
    t.comment(JSON.stringify(grown));
    t.ok(grown.memory < 15e6 && grown.files <= 2 && grown.mappings < 40, "sequences", grown);
});
