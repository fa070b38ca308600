import {readFileSync} from "node:fs";
import {resolve} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {setFlagsFromString} from "node:v8";
import {runInNewContext} from "node:vm";
import {attach} from "llama-deltastore";
import {LlamaChatSession, type Token} from "node-llama-cpp";
import t from "tap";
import {generate, handleOf, logitsOf, nativeBinding, openLlama} from "../support/engine.js";
import {demoModelPath, f16ModelPath} from "../support/f16-model.js";
import {root} from "../support/paths.js";

t.setTimeout(180_000);

const llama = await openLlama();
const store = await attach(llama);
const native = await nativeBinding();
const model = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
t.teardown(() => llama.dispose());

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes of memory of this process's own; pages of mapped files, such as the model's, come and go as the system likes. */
async function ownMemory(): Promise<number> {
    for (let i = 0; i < 3; i++) {  // V8 gives memory back some time after it has collected
        collectGarbage();
        await sleep(100);
    }
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return Number(kilobytes) * 1024;
}

t.test("greedy text on `exact` is stock F16's, token for token", async (t) => {
    const prompts = [
        "The capital of France is", "Once upon a time, in a village by the sea,", "def fibonacci(n):\n",
        "<|im_start|>user\nExplain how a bicycle stays upright.<|im_end|>\n<|im_start|>assistant\n"
    ];
    // One after the other: products of several sequences' rows are rounded in another way than those of one.
    const texts: Token[][][] = [];
    for (const kvCache of ["stock", "exact"]) {
        const context = await model.createContext({contextSize: 512, kvCache, threads: 1});
        const generated: Token[][] = [];
        for (const prompt of prompts) {
            const sequence = context.getSequence();
            generated.push(await generate(sequence, model.tokenize(prompt, true), 130));
            await sequence.dispose();
        }
        texts.push(generated);
        await context.dispose();
    }
    const [stock, exact] = texts as [Token[][], Token[][]];
    t.ok(stock.flat().length >= 500, `${stock.flat().length} tokens are compared`);
    t.strictSame(exact, stock);
    t.ok(new Set(stock.flat()).size > 100, "and they are many different ones");
});

t.test("a chat on `high`, with quantized weights as people use them", async (t) => {
    const model = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
    const context = await model.createContext({contextSize: 1024, threads: 1});
    const session = new LlamaChatSession({contextSequence: context.getSequence()});
    t.match(await session.prompt("What is the capital of France? Answer in one sentence.", {temperature: 0, maxTokens: 30}), /Paris/);
    t.match(await session.prompt("And which country is it the capital of?", {temperature: 0, maxTokens: 30}), /France/);
    t.match(store.stats(context).sequences, [{id: 0, tier: "high"}], "on the default tier");
    await model.dispose();
});

t.test("an empty context of 131,072 tokens costs next to nothing", async (t) => {
    const before = await ownMemory();
    const context = await model.createContext({contextSize: 131_072, kvCache: "high", threads: 1});
    t.equal(context.getAllocatedContextSize(), 131_072);
    const {residentBytes, tokens, pages, stockBytes} = store.stats(context);
    t.strictSame({tokens, pages, stockBytes}, {tokens: 0, pages: 0, stockBytes: 0});
    t.ok(residentBytes < 1 << 20, "no pages", {residentBytes});
    const growth = await ownMemory() - before;
    t.ok(growth < 60e6, "and few compute buffers", {growth});
    await generate(context.getSequence(), model.tokenize("It can be used at once:"), 2);
    await context.dispose();
});

t.test("memory follows use", async (t) => {
    const words = model.tokenize(readFileSync(resolve(root, "node_modules/node-llama-cpp/README.md"), "utf8"));
    const text = Array.from({length: 2560}, (_, at) => words[at % words.length]!);
    const context = await model.createContext({contextSize: 2816, sequences: 2, kvCache: "high", threads: 1});
    await logitsOf(native, context, text.slice(0, 512), {sequence: 1, from: 511});  // the compute buffers are in memory after that
    native.clearSequence(handleOf(context), 1);
    const [empty, before] = [store.stats(context), await ownMemory()];
    t.match(empty, {tokens: 0, pages: 0, sequences: []});
    t.ok(empty.residentBytes < 1 << 20, "an erased sequence leaves nothing", {empty});

    await logitsOf(native, context, text, {batches: [512], from: text.length - 1});
    const [full, after] = [store.stats(context), await ownMemory()];
    t.equal(full.tokens, text.length);
    t.equal(full.stockBytes, full.tokens * 30 * 3 * (64 + 64) * 2, "30 layers, 3 KV heads of 64 keys and 64 values, 2 bytes each");
    t.ok(full.stockBytes / full.residentBytes > 3, "less than a third of stock's bytes", full);
    const [sequence, ...others] = full.sequences;
    t.match(sequence, {id: 0, tier: "high", tokens: text.length});
    t.strictSame(others, []);
    t.ok(sequence!.residentBytes <= full.residentBytes, "a sequence has no more than the pool");
    t.ok(sequence!.residentBytes > 0.85 * full.residentBytes, "and the pool little that is no sequence's", full);
    t.ok(full.peakResidentBytes >= full.residentBytes);
    const growth = after - before;
    t.ok(Math.abs(growth - full.residentBytes) < 0.2 * full.residentBytes, "the figures are the process's real memory", {growth, ...full});

    native.clearSequence(handleOf(context), 0);
    const [cleared, end] = [store.stats(context), await ownMemory()];
    t.ok(cleared.residentBytes < 1 << 20, "nothing is left", {cleared});
    t.ok(after - end > 0.8 * full.residentBytes, "and the system has the memory back", {before, after, end});
    await context.dispose();
});
