import {getLlama, type Llama, type LlamaModel} from "node-llama-cpp";
import type {DeltaStore} from "../../ts/index.js";
import type {BenchCache} from "../caches.js";
import {batchSize, type BenchModel, type ModelShape} from "./bench-model.js";
import {OpenCache} from "./open-cache.js";
import {dist} from "./package.js";

/** A model in a process where contexts may have our caches, on a fixed number of threads. */
export class Runtime implements BenchModel {
    private constructor(readonly llama: Llama, readonly store: DeltaStore, readonly model: LlamaModel, readonly threads: number) {}

    static async open({threads, modelPath, policy}: {threads: number; modelPath: () => Promise<string>; policy?: object}): Promise<Runtime> {
        const {attach} = await dist("index.js");
        const llama = await getLlama({gpu: false, maxThreads: threads});
        const store = await attach(llama, {policy: {sharing: {automatic: false}, ...policy}});
        return new Runtime(llama, store, await llama.loadModel({modelPath: await modelPath(), gpuLayers: 0}), threads);
    }

    get shape(): ModelShape {
        const {block_count: layers, embedding_length: width, attention} = this.model.fileInfo.architectureMetadata;
        const heads = Number(attention!.head_count);
        return {layers: layers!, kvHeads: Number(attention!.head_count_kv ?? heads), headSize: attention!.key_length ?? width! / heads};
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
