import {getLlama, type Llama, type LlamaModel} from "node-llama-cpp";
import type {DeltaStore} from "../../ts/index.js";
import type {BenchCache} from "../caches.js";
import type {ModelShape, NativeBinding} from "../../ts/engine/native.js";
import {batchSize, type BenchModel} from "./bench-model.js";
import {OpenCache} from "./open-cache.js";
import {dist} from "./package.js";

const {batchOf} = await dist("store/model-report.js");

/** A model in a process where contexts may have our caches, on a fixed number of threads. */
export class Runtime implements BenchModel {
    private constructor(readonly llama: Llama, readonly store: DeltaStore, readonly model: LlamaModel, readonly threads: number,
                        readonly shape: ModelShape, readonly native: NativeBinding, readonly modelPath: string) {}

    static async open({threads, modelPath, policy}: {threads: number; modelPath: () => Promise<string>; policy?: object}): Promise<Runtime> {
        const {attach} = await dist("index.js");
        const llama = await getLlama({gpu: false, maxThreads: threads});
        const store = await attach(llama, {policy: {sharing: {automatic: false}, ...policy}});
        const path = await modelPath(), native = await (await dist("engine/load.js")).loadNative();
        const {shape} = await native.outlineModel(path, (await dist("context/pack.js")).nativeTier((await dist("policy/tiers.js")).builtInTiers.get("exact")!));
        return new Runtime(llama, store, await llama.loadModel({modelPath: path, gpuLayers: 0}), threads, shape, native, path);
    }

    stockBytes(sequences: number, tokens: number): number {
        return this.native.forecast(this.shape, null, {sequences, tokens, batchSize: batchOf(this.shape, batchSize)}).stockBytes;
    }

    /** @param contextSize tokens of each sequence */
    async openCache(cache: BenchCache, contextSize: number, sequences = 1): Promise<OpenCache> {
        const context = await this.model.createContext({contextSize, sequences, batchSize, ...cache.options});
        return new OpenCache(cache, context, sequences, this);
    }

    async [Symbol.asyncDispose](): Promise<void> {
        this.store.dispose();
        await this.llama.dispose();
    }
}
