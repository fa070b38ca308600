/** The self-test of a release, run by self-test.ts in a process of its own. Argument: the kind of GPU, as JSON. */
import {mkdtemp, rm, writeFile} from "node:fs/promises";
import {tmpdir} from "node:os";
import path from "node:path";
import {getLlama, LlamaLogLevel, type Llama, type LlamaModel, type Token} from "node-llama-cpp";
import {loadNative} from "../engine/load.js";
import {tinyKinds, tinyModel, tinyVocabulary} from "../models/tiny-model.js";
import {addonContextOf} from "../runtime/contexts.js";
import {attach} from "./attach.js";
import type {SelfTestResult} from "./self-test.js";
import type {DeltaStore} from "./store.js";

const batch = 100;
/** More than windows and pages have. */
const tokens = Uint32Array.from({length: 3 * batch}, (_, index) => index === 0 ? 1 : 3 + (index * 7919) % (tinyVocabulary - 3));

const contextOf = (model: LlamaModel, kvCache: string) => model.createContext({contextSize: 512, batchSize: 128, sequences: 2, threads: 1, flashAttention: true, kvCache});

async function logitsOf(model: LlamaModel, kvCache: string): Promise<Float32Array> {
    const native = await loadNative(), context = await contextOf(model, kvCache), rows: number[] = [];
    for (let begin = 0; begin < tokens.length; begin += batch)
        rows.push(...await native.evaluateLogits(addonContextOf(context), 0, begin, tokens.slice(begin, begin + batch), 0));
    await context.dispose();
    return Float32Array.from(rows);
}

/** What node-llama-cpp's JavaScript does with a packed context: each step throws if something of it is not as it was. */
async function useSequences(store: DeltaStore, model: LlamaModel, file: string): Promise<void> {
    const context = await contextOf(model, "high"), [source, target] = [context.getSequence(), context.getSequence()], prompt = [...tokens.slice(0, 150)] as Token[];
    const expect = (found: number, wanted: number, what: string) => {
        if (found !== wanted) throw new Error(`${what} leaves ${found} tokens instead of ${wanted}`);
    };
    await source.evaluateWithoutGeneratingNewTokens(prompt);
    await store.fork(source, target);
    expect(target.nextTokenIndex, 150, "a fork");
    await source.saveStateToFile(file);
    await target.eraseContextTokenRanges([{start: 120, end: 150}]);
    expect(target.nextTokenIndex, 120, "erasing");
    let generated = 0;
    for await (const _ of target.evaluate([5 as Token], {temperature: 0, yieldEogToken: true})) if (++generated === 4) break;
    expect(generated, 4, "generating");
    await target.clearHistory();
    await target.loadStateFromFile(file, {acceptRisk: true});
    expect(target.nextTokenIndex, 150, "loading a state file");
    expect(store.stats(context).tokens, 300, "all of it");
    await context.dispose();
}

async function selfTest(llama: Llama, folder: string): Promise<Record<string, number>> {
    const store = await attach(llama, {policy: {onUnsupported: "error", sharing: {automatic: false}}}), native = await loadNative(), divergences: Record<string, number> = {};
    for (const kind of tinyKinds) {
        const modelPath = path.join(folder, `${kind}.gguf`);
        await writeFile(modelPath, tinyModel(kind));
        const model = await llama.loadModel({modelPath, gpuLayers: 0});
        const [stock, exact, high] = [await logitsOf(model, "stock"), await logitsOf(model, "exact"), await logitsOf(model, "high")];
        if (!high.every(Number.isFinite)) throw new Error(`the tier high gives logits that are no numbers (${kind})`);
        divergences[kind] = (await native.compareLogits(stock, exact, tokens)).kld.reduce((most, one) => Math.max(most, one), 0);  // NaN stays
        await useSequences(store, model, path.join(folder, `${kind}.state`));
        await model.dispose();
    }
    return divergences;
}

async function result(): Promise<SelfTestResult> {
    const folder = await mkdtemp(path.join(tmpdir(), "llama-deltastore-self-test-"));
    try {
        const llama = await getLlama({gpu: JSON.parse(process.argv[2]!) as Llama["gpu"], build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error});
        return {divergences: await selfTest(llama, folder)};
    } catch (error) {
        return {error: (error as Error).message};
    } finally {
        await rm(folder, {recursive: true, force: true});
    }
}

const {send} = process;
if (send !== undefined) send.call(process, await result(), () => process.exit());
else console.log(await result());
