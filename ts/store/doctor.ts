import {getLlama, getLlamaGpuTypes, getModuleVersion, type LlamaModel} from "node-llama-cpp";
import {attach} from "./attach.js";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "../errors.js";
import {engineFolder, loadedLibraries, loadNative} from "../engine/load.js";
import {checkRuntime} from "../runtime/release.js";
import {servedRuntimes, type RuntimeRelease} from "../runtime/served.js";
import type {DeltaStore} from "./store.js";

export interface RuntimeReport {
    nodeLlamaCppVersion: string;
    llamaCppRelease: string;
    /** Whether the platform and these releases are served. */
    supported: boolean;
    /** Whether these releases are among those that this build was tested with. Others have to pass a self-test to be served. */
    tested: boolean;
    /** Whether the engine loads and can be attached. False if that was not tried, because nothing is supported. */
    engineLoads: boolean;
    /** Why `supported` or `engineLoads` is false. */
    problem: {code: ErrorCode; message: string} | null;
    supportedVersions: readonly RuntimeRelease[];
    /** Folder of the engine's binary for this llama.cpp. */
    binary: string | null;
    /** The kernels that this processor runs, best first, and the one in use. That one is "" if DELTASTORE_KERNEL names none of them. */
    kernels: {available: string[]; selected: string} | null;
    libraries: string[];
    /** Kinds of GPU whose libraries node-llama-cpp finds here, such as "cuda". */
    gpus: string[];
}

/** What is installed and loaded here. Loads llama.cpp and the engine. */
export async function runtimeReport(): Promise<RuntimeReport> {
    const llama = await getLlama({gpu: false});
    try {
        let tested = false;
        let problem: RuntimeReport["problem"] = null;
        let kernels: RuntimeReport["kernels"] = null;
        try {
            ({tested} = await checkRuntime(llama));
            if (tested) kernels = (await loadNative()).kernels();  // first, so that they are told where one is chosen that there is not
            (await attach(llama, {onUnsupported: "error"})).dispose();
            kernels ??= (await loadNative()).kernels();
        } catch (error) {
            const typed = toDeltaStoreError(error);
            if (!(typed instanceof DeltaStoreError)) throw error;
            problem = {code: typed.code, message: typed.message};
        }
        return {
            nodeLlamaCppVersion: await getModuleVersion(),
            llamaCppRelease: llama.llamaCppRelease.release,
            supported: problem === null || !["RUNTIME_UNSUPPORTED", "PLATFORM_UNSUPPORTED"].includes(problem.code),
            tested,
            engineLoads: problem === null,
            problem,
            supportedVersions: servedRuntimes,
            binary: engineFolder(llama.llamaCppRelease.release),
            kernels,
            libraries: loadedLibraries(),
            gpus: (await getLlamaGpuTypes("supported")).filter((type) => type !== false)
        };
    } finally {
        await llama.dispose();
    }
}

/** Whether a loaded model can have a packed cache. Tries it with a small context. */
export async function describeModel(store: DeltaStore, model: LlamaModel): Promise<{supported: boolean; reason: string | null; code: ErrorCode | null}> {
    try {
        const context = await model.createContext({contextSize: 256, kvCache: store.policy.defaultTier, failedCreationRemedy: false});
        const packed = store.isPacked(context);
        await context.dispose();
        return packed
            ? {supported: true, reason: null, code: null}
            : {supported: false, reason: "the policy's onUnsupported: \"stock\" gave it the stock cache", code: "MODEL_UNSUPPORTED"};
    } catch (error) {
        if (error instanceof DeltaStoreError) return {supported: false, reason: error.message, code: error.code};
        throw error;
    }
}
