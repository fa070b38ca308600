import {spawnSync} from "node:child_process";
import {readdirSync, readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {Worker} from "node:worker_threads";
import {attach, type CacheStats} from "llama-deltastore";
import type {LlamaContext, LlamaModel, Token} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, greedy, handleOf, logitsOf, nativeBinding, openLlama, randomTokens} from "../support/engine.js";
import {root} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(180_000);

const path = await tinyModelPath(tinyModel("llama-head-128"));
const otherPath = await tinyModelPath(tinyModel("qwen2-biases"));
const refusedPath = await tinyModelPath(tinyModel("mamba"));
const prompt = randomTokens(150, 61);
const fixture = (name: string) => join(root, "test/fixtures", name);

function createContext(model: LlamaModel, kvCache: string, options: object = {}): Promise<LlamaContext> {
    return model.createContext({contextSize: 512, threads: 1, kvCache, ...options});
}

async function open() {
    const llama = await openLlama();
    const store = await attach(llama);
    return {llama, store, model: await llama.loadModel({modelPath: path, gpuLayers: 0})};
}

const reference = await (async () => {
    const {llama, model} = await open();
    const texts = new Map<string, Token[]>();
    for (const tier of ["exact", "high"]) texts.set(tier, await generate((await createContext(model, tier)).getSequence(), prompt, 40));
    await llama.dispose();
    return texts;
})();

t.test("several Llama instances, models and contexts at once", async (t) => {
    const [one, two] = [await open(), await open()];
    const second = await one.llama.loadModel({modelPath: otherPath, gpuLayers: 0});
    const contexts = [
        await createContext(one.model, "exact"), await createContext(one.model, "high"), await createContext(one.model, "stock"),
        await createContext(two.model, "high"), await createContext(second, "high")
    ];
    const texts = await Promise.all(contexts.map((context) => generate(context.getSequence(), prompt, 40)));
    t.strictSame(texts[0], reference.get("exact"));
    t.strictSame(texts[1], reference.get("high"));
    t.strictSame(texts[3], reference.get("high"));
    t.equal(one.store.stats(contexts[0]!).sequences[0]!.tier, "exact");
    t.ok(one.store.stats(contexts[1]!).residentBytes < one.store.stats(contexts[0]!).residentBytes);

    await one.llama.dispose();
    t.strictSame(await generate((await createContext(two.model, "high")).getSequence(), prompt, 40),
        reference.get("high"), "one instance's end leaves the other");
    await two.llama.dispose();
});

t.test("a context computes with more and with fewer threads than before", async (t) => {
    const {llama, model} = await open();
    t.teardown(() => llama.dispose());
    const native = await nativeBinding();
    const context = await createContext(model, "high");
    const handle = handleOf(context) as {setThreads(count: number): void};
    const threads = () => readdirSync("/proc/self/task").length;
    const before = threads();
    let expected: number[] | undefined;
    for (const count of [1, 2, 3, 1, 4, 2]) {
        handle.setThreads(count);
        const rows = await logitsOf(native, context, prompt, {batches: [100, 1]});
        native.clearSequence(handle, 0);
        expected ??= rows.map(greedy);
        t.strictSame(rows.map(greedy), expected, `the same predictions with ${count}`);
    }
    t.ok(threads() > before, "it keeps them for the next batch");
    await context.dispose();
    for (let i = 0; i < 100 && threads() !== before; i++) await sleep(50);  // a joined thread leaves the list a little later
    t.equal(threads(), before, "until it is disposed");
});

t.test("disposal in any order", async (t) => {
    const orders: ((parts: {llama: Awaited<ReturnType<typeof openLlama>>; model: LlamaModel; context: LlamaContext}) => Promise<void>[])[] = [
        ({llama, model, context}) => [context.dispose(), model.dispose(), llama.dispose()],
        ({llama, model, context}) => [llama.dispose(), model.dispose(), context.dispose()],
        ({llama, model, context}) => [model.dispose(), context.dispose(), llama.dispose()],
        ({llama}) => [llama.dispose()]
    ];
    for (const [at, dispose] of orders.entries()) {
        for (const busy of [false, true]) {
            const parts = {...await open()};
            const context = await createContext(parts.model, "high", {sequences: 2});
            await generate(context.getSequence(), prompt, 3);
            const running = busy ? codeOf(generate(context.getSequence(), randomTokens(500, 62), 100_000)) : undefined;
            if (busy) await sleep(15);
            await Promise.all(dispose({...parts, context}));
            if (running !== undefined) t.match(await running, /dispos/i, `order ${at}: what ran ended`);
            t.ok(context.disposed && parts.model.disposed && parts.llama.disposed, `order ${at}, ${busy ? "busy" : "idle"}`);
            parts.store.dispose();
        }
    }
    const {llama, model} = await open();
    const context = await createContext(model, "high");
    const sequence = context.getSequence();
    const running = codeOf(generate(sequence, prompt, 10_000));
    await sleep(10);
    await Promise.all([sequence.dispose(), context.dispose()]);
    t.match(await running, /dispos/i);
    t.strictSame(await generate((await createContext(model, "high")).getSequence(), prompt, 40), reference.get("high"));
    const creating = createContext(model, "high").then(() => "made", () => "refused");
    await llama.dispose();
    t.match(await creating, /made|refused/, "a context in the making doesn't hang");
});

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
    const {llama, model} = await open();
    t.teardown(() => llama.dispose());
    const contexts = await growth(120, 150, async () => {
        const context = await createContext(model, "high", {sequences: 2});
        const [first, second] = [context.getSequence(), context.getSequence()];
        await first.evaluateWithoutGeneratingNewTokens(prompt);
        await second.evaluateWithoutGeneratingNewTokens(prompt);
        await context.dispose();
    });
    // With the stock cache it grows by as much, until malloc's arenas have their size. Pages that leak would be 150 MB, compute
    // buffers more.
    t.ok(contexts.memory < 40e6 && contexts.files <= 2 && contexts.threads <= 2 && contexts.mappings < 40, "contexts", contexts);

    const models = await growth(12, 4, async () => {
        const model = await llama.loadModel({modelPath: otherPath, gpuLayers: 0});
        const context = await createContext(model, "exact");
        await context.getSequence().evaluateWithoutGeneratingNewTokens(prompt.slice(0, 20));
        await model.dispose();
    });
    t.ok(models.memory < 25e6 && models.files <= 2 && models.threads <= 2 && models.mappings < 40, "models", models);

    const refused = await llama.loadModel({modelPath: refusedPath, gpuLayers: 0});
    const refusals = await growth(60, 20, async () => {
        if (await codeOf(createContext(refused, "high")) !== "MODEL_UNSUPPORTED") throw new Error("mamba was served");
    });
    t.ok(refusals.memory < 25e6 && refusals.files <= 2 && refusals.threads <= 2 && refusals.mappings < 40, "refusals", refusals);

    const context = await createContext(model, "high", {sequences: 2});
    const sequences = await growth(60, 20, async () => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(prompt);
        await sequence.eraseContextTokenRanges([{start: 20, end: 60}]);
        await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(1, 9));
        await sequence.dispose();
    });
    t.ok(sequences.memory < 15e6 && sequences.files <= 2 && sequences.mappings < 40, "sequences", sequences);
});

interface WorkerResult {
    tokens: Token[];
    stats: CacheStats;
}

function startWorker(data: {tier: string; count: number; pause?: boolean}) {
    const worker = new Worker(fixture("worker.mjs"), {workerData: {modelPath: path, prompt, ...data}});
    return {
        worker,
        result: new Promise<WorkerResult>((resolve, reject) => worker.once("message", resolve).once("error", reject)),
        exit: new Promise<number>((resolve) => worker.once("exit", resolve))
    };
}

t.test("worker threads", async (t) => {
    const first = startWorker({tier: "high", count: 40});
    t.strictSame((await first.result).tokens, reference.get("high"), "a worker, before the main thread uses the engine");
    t.equal(await first.exit, 0);

    const {llama, store, model} = await open();
    const context = await createContext(model, "exact", {contextSize: 4096, sequences: 4});
    const sequences = [context.getSequence()];  // node-llama-cpp empties a sequence that nobody refers to any more
    const two = [startWorker({tier: "exact", count: 40}), startWorker({tier: "high", count: 40})];
    const [inExact, inHigh, here] = await Promise.all([two[0]!.result, two[1]!.result, generate(sequences[0]!, prompt, 40)]);
    t.strictSame(inExact.tokens, reference.get("exact"));
    t.strictSame(inHigh.tokens, reference.get("high"));
    t.strictSame(here, reference.get("exact"));
    t.match(inHigh.stats, {tokens: 189, sequences: [{tier: "high", tokens: 189}]});
    t.strictSame(await Promise.all(two.map(({exit}) => exit)), [0, 0]);

    // Not in the middle of a batch: there node-llama-cpp itself may abort the process (an exception in its worker's end).
    for (const tier of ["high", "exact", "high"]) {
        const doomed = startWorker({tier, count: 40, pause: true});
        t.strictSame((await doomed.result).tokens, reference.get(tier));
        const sequence = context.getSequence();
        sequences.push(sequence);
        const going = generate(sequence, prompt, 60);
        await doomed.worker.terminate();
        t.strictSame((await going).slice(0, 40), reference.get("exact"), "the main thread goes on after a worker was terminated");
    }
    t.equal(store.stats(context).tokens, 189 + 3 * 209);
    t.notOk(sequences.some(({disposed}) => disposed));

    const after = startWorker({tier: "high", count: 40});
    t.strictSame((await after.result).tokens, reference.get("high"), "and a new worker can be started");
    await after.exit;
    await llama.dispose();
});

function runApp(policy: string | undefined, register = true) {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const child = spawnSync(process.execPath, [
        ...register ? ["--import", "llama-deltastore/register"] : [], fixture("app.mjs"), path, "60"
    ], {encoding: "utf8", timeout: 60_000, cwd: root, env: policy === undefined ? env : {...env, DELTASTORE_POLICY: policy}});
    const output = /^\{.*\}$/m.exec(child.stdout)?.[0];
    return {status: child.status, stderr: child.stderr, ...output === undefined ? {} : JSON.parse(output) as {ram: number; tokens: number[]}};
}

t.test("an app that knows nothing, with --import llama-deltastore/register", async (t) => {
    const plain = runApp(undefined, false);
    t.match(plain, {status: 0, tokens: Array});
    const exact = runApp("exact");
    t.match(exact, {status: 0, stderr: ""});
    t.strictSame(exact.tokens, plain.tokens, "the same text");
    const byDefault = runApp(undefined);
    t.match(byDefault, {status: 0, stderr: "", tokens: {length: 60}});
    t.ok(byDefault.ram! < exact.ram!, "the default tier is packed", {high: byDefault.ram, exact: exact.ram, stock: plain.ram});

    const folder = t.testdir({"small.json": JSON.stringify({pool: {limit: 65536}})});
    const limited = runApp(join(folder, "small.json"));
    t.not(limited.status, 0);
    t.match(limited.stderr, "POOL_LIMIT_REACHED", "the policy file is used");
    const misspelled = runApp("hihg");
    t.not(misspelled.status, 0);
    t.match(misspelled.stderr, /TIER_UNKNOWN[^]*"high"|"high"[^]*TIER_UNKNOWN/, "a mistake is told at once");
    writeFileSync(join(folder, "bad.json"), '{"defalt": "exact"}');
    t.match(runApp(join(folder, "bad.json")).stderr, /default/);
});

t.test("estimates and contextSize \"auto\"", async (t) => {
    const bare = await openLlama();
    const bareModel = await bare.loadModel({modelPath: path, gpuLayers: 0});
    const {llama, model} = await open();
    t.teardown(() => Promise.all([bare.dispose(), llama.dispose()]));
    const options = {contextSize: 16_384, batchSize: 256, modelGpuLayers: 0};
    const truth = (await createContext(bareModel, undefined!, options)).memoryUsage.ram;
    const estimate = await bareModel.fileInsights.estimateContextResourceRequirementsV2({...options, flashAttention: "auto"});

    const usages = new Map<string, number>();
    for (const tier of ["high", "stock", "conservative", "compact", "exact", "high"]) {
        const context = await createContext(model, tier, options);
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
        const context = await createContext(model, tier, {contextSize: "auto"});
        t.ok(context.contextSize >= 256, `${tier} with "auto": ${context.contextSize} tokens`);
        t.equal((await generate(context.getSequence(), prompt, 5)).length, 5);
        await context.dispose();
    }
    const ranged = await createContext(model, "high", {contextSize: {min: 300, max: 700}});
    t.ok(ranged.contextSize >= 300 && ranged.contextSize <= 1024);
});
