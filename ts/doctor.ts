import {getLlama, getModuleVersion, type LlamaModel} from "node-llama-cpp";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "./errors.js";
import {binaryFolder, loadedLibraries, loadNative} from "./load-native.js";
import {checkRuntime, supportedRuntimes} from "./runtime.js";
import type {DeltaStore} from "./store.js";

export interface RuntimeReport {
    nodeLlamaCppVersion: string;
    llamaCppRelease: string;
    supported: boolean;
    /** Why not, if it isn't. */
    problem: {code: ErrorCode; message: string} | null;
    supportedVersions: readonly {nodeLlamaCpp: string; llamaCpp: string}[];
    /** Folder of the engine's binary. */
    binary: string | null;
    kernels: {available: string[]; selected: string} | null;
    libraries: string[];
}

/** What is installed and loaded here. Loads llama.cpp and the engine. */
export async function runtimeReport(): Promise<RuntimeReport> {
    const llama = await getLlama({gpu: false});
    try {
        let problem: RuntimeReport["problem"] = null;
        let kernels: RuntimeReport["kernels"] = null;
        try {
            await checkRuntime(llama);
            const native = await loadNative();
            native.install();
            kernels = native.kernels();
        } catch (error) {
            const typed = toDeltaStoreError(error);
            if (!(typed instanceof DeltaStoreError)) throw error;
            problem = {code: typed.code, message: typed.message};
        }
        return {
            nodeLlamaCppVersion: await getModuleVersion(),
            llamaCppRelease: llama.llamaCppRelease.release,
            supported: problem === null,
            problem,
            supportedVersions: supportedRuntimes,
            binary: binaryFolder(),
            kernels,
            libraries: loadedLibraries()
        };
    } finally {
        await llama.dispose();
    }
}

/** Whether a loaded model can have a packed cache, tried with a small context. */
export async function describeModel(store: DeltaStore, model: LlamaModel): Promise<{supported: boolean; reason: string | null; code: ErrorCode | null}> {
    try {
        const context = await model.createContext({contextSize: 256, kvCache: store.policy.defaultTier, failedCreationRemedy: false});
        let packed = true;
        try {
            store.stats(context);
        } catch {
            packed = false;
        }
        await context.dispose();
        return packed
            ? {supported: true, reason: null, code: null}
            : {supported: false, reason: "the policy's onUnsupported: \"stock\" gave it the stock cache", code: "MODEL_UNSUPPORTED"};
    } catch (error) {
        if (error instanceof DeltaStoreError) return {supported: false, reason: error.message, code: error.code};
        throw error;
    }
}
