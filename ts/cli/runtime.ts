import {availableParallelism} from "node:os";
import type {Llama, LlamaContext, LlamaContextOptions, LlamaModel} from "node-llama-cpp";
import {findModel} from "../models/fetch.js";
import type {ModelFile} from "../models/model-source.js";
import {printNote} from "./output.js";
import {showDownload} from "./progress.js";
import type {DeltaStore} from "../index.js";
import type {PolicyFile} from "../policy/policy-file.js";

export interface Runtime {
    readonly llama: Llama;
    readonly store: DeltaStore;
    readonly model: LlamaModel;
    readonly modelPath: string;
    /** Threads that contexts compute with. */
    readonly threads: number;
    /** They are kept until `close`. node-llama-cpp 3.22.1 never finishes disposing of a model whose context was collected as garbage. */
    readonly contexts: LlamaContext[];
    close(): Promise<void>;
}

export interface RuntimeOptions {
    model?: string | undefined;
    policy?: string | PolicyFile | undefined;
    threads?: number | undefined;
    /** Nothing is written: neither a download's progress nor the runtime's log. */
    quiet?: boolean | undefined;
    /** Instead of the policy's. */
    onUnsupported?: "error" | undefined;
    /** Gives the path of what is loaded in place of the model's file. */
    prepareModel?(llama: Llama, store: DeltaStore, modelPath: string): Promise<string>;
}

/** The model's path. The model is fetched if need be, with a progress bar unless `quiet`. Ctrl+C stops the download. */
export async function getModelPath(path: string | undefined, quiet: boolean): Promise<string> {
    const abort = new AbortController();
    const onInterrupt = (): void => abort.abort(new Error("The download was stopped."));
    process.once("SIGINT", onInterrupt);
    const progress = quiet ? null : showDownload("Model");
    let whole = false;
    try {
        const found = await findModel({path, onFetch: quiet ? undefined : nameTerms, onProgress: progress?.onProgress, signal: abort.signal});
        whole = true;
        return found;
    } finally {
        progress?.stop(whole);
        process.removeListener("SIGINT", onInterrupt);
    }
}

function nameTerms({fileName, terms}: ModelFile): void {
    if (terms !== undefined) printNote(`${fileName} is fetched. It may be used under ${terms.name}: ${terms.url}`);
}

/** Loads the runtime on the CPU, attaches the store, and loads the model. */
export async function openRuntime({model: givenPath, policy, threads, quiet = false, onUnsupported, prepareModel}: RuntimeOptions): Promise<Runtime> {
    const foundPath = await getModelPath(givenPath, quiet);
    const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");
    const {attach} = await import("../index.js");
    // The runtime takes at least 4 threads by itself. On fewer processors they mostly wait for each other.
    const maxThreads = threads ?? availableParallelism();
    const llama = await getLlama({gpu: false, logLevel: quiet ? LlamaLogLevel.disabled : LlamaLogLevel.error, maxThreads});
    const store = await attach(llama, {...policy === undefined ? {} : {policy}, ...onUnsupported === undefined ? {} : {onUnsupported}});
    const modelPath = await prepareModel?.(llama, store, foundPath) ?? foundPath;
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    const contexts: LlamaContext[] = [];
    return {
        llama, store, model, modelPath, contexts,
        threads: threads ?? Math.min(maxThreads, llama.cpuMathCores),
        async close() {
            store.dispose();
            for (const context of contexts) await context.dispose();
            await model.dispose();
            await llama.dispose();
        }
    };
}

/** A context of one sequence with this kind of cache: a tier's name or "stock". */
export async function createContext({model, threads, contexts}: Runtime, kvCache: string, contextSize: number): Promise<LlamaContext> {
    const options: LlamaContextOptions & {kvCache: string} = {kvCache, contextSize, threads, sequences: 1};
    const context = await model.createContext(options);
    contexts.push(context);
    return context;
}
