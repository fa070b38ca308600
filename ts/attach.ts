import type {Llama, LlamaContext, LlamaContextOptions} from "node-llama-cpp";
import {DeltaStoreError, toDeltaStoreError} from "./errors.js";
import {binaryFolder, loadNative} from "./load-native.js";
import type {NativeBinding} from "./native.js";
import {loadPolicy} from "./policy/load.js";
import type {PolicyFile} from "./policy/policy-file.js";
import {checkRuntime} from "./runtime.js";
import {DeltaStore, isUnsupported, storeOf} from "./store.js";

declare module "node-llama-cpp" {
    interface LlamaModel {
        /** `kvCache`: a tier of the attached policy, or "stock" for node-llama-cpp's own cache. */
        createContext(options?: LlamaContextOptions & {kvCache?: KvCache}): Promise<LlamaContext>;
    }
}

/** Built-in tiers, "stock", or a tier of the policy. */
export type KvCache = "exact" | "high" | "conservative" | "stock" | (string & {});

export interface AttachOptions {
    /** A policy, the path of a policy file, or a tier's name. Without it contexts get the tier "high". */
    policy?: string | PolicyFile;
    /** What to do where the package can't serve; overrides the policy's field. */
    onUnsupported?: "error" | "stock";
}

/**
 * Gives the contexts that this Llama instance's models create from now on a packed KV cache.
 * @throws DeltaStoreError POLICY_INVALID, POLICY_NOT_FOUND, TIER_UNKNOWN, OPTION_INVALID; with `onUnsupported: "error"` also
 *     PLATFORM_UNSUPPORTED, RUNTIME_UNSUPPORTED, BINARY_MISSING
 */
export async function attach(llama: Llama, options: AttachOptions = {}): Promise<DeltaStore> {
    const {onUnsupported} = options;
    if (onUnsupported !== undefined && onUnsupported !== "error" && onUnsupported !== "stock")
        throw new DeltaStoreError("OPTION_INVALID", `onUnsupported is ${JSON.stringify(onUnsupported)}; allowed: "error", "stock"`);
    const loaded = loadPolicy(options.policy);
    const policy = onUnsupported === undefined ? loaded : {...loaded, onUnsupported};
    if (llama.disposed) throw new DeltaStoreError("DISPOSED", "The Llama instance is disposed");
    storeOf(llama)?.dispose();
    let native: NativeBinding | null = null;
    try {
        await checkRuntime(llama);
        native = await loadNative();
        if (native.llamaCppRelease !== llama.llamaCppRelease.release)
            throw new DeltaStoreError("BINARY_MISSING", `The engine was built for llama.cpp ${native.llamaCppRelease}; this is ` +
                `${llama.llamaCppRelease.release}. Delete ${binaryFolder()} to have it built again`);
        native.install();
    } catch (error) {
        const typed = toDeltaStoreError(error);
        if (policy.onUnsupported !== "stock" || !isUnsupported(typed)) throw typed;
        process.emitWarning(`llama-deltastore uses the stock cache: ${typed.message}`, {code: `DELTASTORE_${typed.code}`});
    }
    storeOf(llama)?.dispose();  // one that another call attached meanwhile
    return new DeltaStore(llama, policy, native);
}
