import {readFileSync} from "node:fs";
import {resolve} from "node:path";
import {attach} from "llama-deltastore";
import {LlamaChatSession, type Token} from "node-llama-cpp";
import t from "tap";
import {generate, handleOf, nativeBinding, openLlama} from "../support/engine.js";
import {demoModelPath, f16ModelPath} from "../support/f16-model.js";
import {logitsOf} from "../support/logits.js";
import {root} from "../support/paths.js";

t.setTimeout(180_000);

const llama = await openLlama();
const store = await attach(llama);
const native = await nativeBinding();
const model = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
t.teardown(() => llama.dispose());

t.test("greedy text on `exact` is stock F16's, token for token", async (t) => {
    const prompts = [
        "The capital of France is", "Once upon a time, in a village by the sea,", "def fibonacci(n):\n",
        "<|im_start|>user\nExplain how a bicycle stays upright.<|im_end|>\n<|im_start|>assistant\n"
    ];
    // One after the other: products over rows of several sequences are rounded otherwise than those of one.
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

t.test("a chat on `high`, with quantized weights, answers right", async (t) => {
    const model = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
    const context = await model.createContext({contextSize: 1024, threads: 1});
    const session = new LlamaChatSession({contextSequence: context.getSequence()});
    t.match(await session.prompt("What is the capital of France? Answer in one sentence.", {temperature: 0, maxTokens: 30}), /Paris/);
    t.match(await session.prompt("And which country is it the capital of?", {temperature: 0, maxTokens: 30}), /France/);
    t.match(store.stats(context).sequences, [{id: 0, tier: "high"}], "on the default tier");
    await model.dispose();
});

/** Writable memory that this process has asked for, touched or not, in bytes. */
function requestedMemory(): number {
    const [, kilobytes] = /^VmData:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return Number(kilobytes) * 1024;
}

t.test("an empty context of 131,072 tokens costs next to nothing", async (t) => {
    const growth: number[] = [];
    for (const contextSize of [1024, 131_072]) {
        const before = requestedMemory();
        const context = await model.createContext({contextSize, kvCache: "high", threads: 1});
        growth.push(requestedMemory() - before);
        t.equal(context.getAllocatedContextSize(), contextSize);
        const {residentBytes, tokens, pages, stockBytes} = store.stats(context);
        t.strictSame({tokens, pages, stockBytes}, {tokens: 0, pages: 0, stockBytes: 0});
        t.ok(residentBytes < 1 << 20, "no pages", {residentBytes});
        await generate(context.getSequence(), model.tokenize("It can be used at once:"), 2);
        await context.dispose();
    }
    const [small, large] = growth as [number, number];
    const maskBytes = 131_072 * 512 * 2;  // the least that a mask of the whole context would add
    t.ok(large - small < maskBytes / 2, "and no larger compute buffers than a small one", {small, large});
});

t.test("memory follows use: it grows by what is packed and comes back", async (t) => {
    const words = model.tokenize(readFileSync(resolve(root, "node_modules/node-llama-cpp/README.md"), "utf8"));
    const text = Array.from({length: 2560}, (_, at) => words[at % words.length]!);
    const context = await model.createContext({contextSize: 2816, sequences: 2, kvCache: "high", threads: 1});
    await logitsOf(native, context, text.slice(0, 512), {sequence: 1, from: 511});
    native.clearSequence(handleOf(context), 1);
    const empty = store.stats(context);
    t.match(empty, {tokens: 0, pages: 0, sequences: []});
    t.ok(empty.residentBytes < 1 << 20, "an erased sequence leaves nothing", {empty});

    await logitsOf(native, context, text, {batches: [512], from: text.length - 1});
    const full = store.stats(context);
    t.equal(full.tokens, text.length);
    t.equal(full.stockBytes, full.tokens * 30 * 3 * (64 + 64) * 2, "30 layers, 3 KV heads of 64 keys and 64 values, 2 bytes each");
    t.ok(full.stockBytes / full.residentBytes > 3, "less than a third of stock's bytes", full);
    const [sequence, ...others] = full.sequences;
    t.match(sequence, {id: 0, tier: "high", tokens: text.length});
    t.strictSame(others, []);
    t.ok(sequence!.residentBytes <= full.residentBytes, "a sequence has no more than the pool");
    t.ok(sequence!.residentBytes > 0.85 * full.residentBytes, "and the pool little that is no sequence's", full);
    t.ok(full.peakResidentBytes >= full.residentBytes);

    native.clearSequence(handleOf(context), 0);
    const cleared = store.stats(context);
    t.ok(cleared.residentBytes < 1 << 20, "nothing is left", {cleared});
    await context.dispose();
});
