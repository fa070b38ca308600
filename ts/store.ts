import {LlamaContext, LlamaContextSequence, LlamaModel, type Llama} from "node-llama-cpp";
import {currentCreation, type Creation} from "./creation.js";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "./errors.js";
import type {NativeBinding, NativeSequenceStats} from "./native.js";
import {packedContextClass} from "./packed-context.js";
import {resolveTier, stockCacheName, type Policy} from "./policy/tiers.js";
import {contextInternals, llamaInternals, modelInternals, type AddonContextClass, type SequenceInternals} from "./runtime-internals.js";

/** What a context's cache holds. Bytes are what the process holds from the system for it, slack and bookkeeping counted. */
export interface CacheStats {
    /** Tokens of all sequences. */
    tokens: number;
    residentBytes: number;
    /** The most that residentBytes has been. */
    peakResidentBytes: number;
    /** What stock's F16 cache would hold for these tokens. */
    stockBytes: number;
    pages: number;
    sequences: NativeSequenceStats[];
}

/** Errors that mean "this model, or this machine, can't be served" rather than "this request failed". */
const unsupportedCodes: readonly ErrorCode[] = [
    "MODEL_UNSUPPORTED", "GPU_LAYERS_UNSUPPORTED", "FLASH_ATTENTION_REQUIRED", "PLATFORM_UNSUPPORTED", "RUNTIME_UNSUPPORTED", "BINARY_MISSING"
];

export const isUnsupported = (error: unknown): error is DeltaStoreError =>
    error instanceof DeltaStoreError && unsupportedCodes.includes(error.code);

const stores = new WeakMap<Llama, DeltaStore>();

/** The packed caches of one Llama instance. Made by `attach`. */
export class DeltaStore {
    readonly policy: Policy;
    readonly #llama: Llama;
    readonly #native: NativeBinding | null;
    readonly #stockClass: AddonContextClass | null;
    readonly #packedClass: AddonContextClass | null;
    readonly #failure: DeltaStoreError | null;
    #disposed = false;

    /** @internal `native` is null where the stock cache serves instead, or, with `failure`, no cache but stock's can be had. */
    constructor(llama: Llama, policy: Policy, native: NativeBinding | null, failure: DeltaStoreError | null = null) {
        this.policy = policy;
        this.#llama = llama;
        this.#native = native;
        this.#stockClass = native === null ? null : llamaInternals(llama)._bindings.AddonContext;
        this.#packedClass = native === null ? null : packedContextClass(this.#stockClass!, native);
        this.#failure = failure;
        if (this.#packedClass !== null) llamaInternals(llama)._bindings.AddonContext = this.#packedClass;
        patchClasses();
        stores.set(llama, this);
    }

    /** Whether contexts get packed caches; false after `onUnsupported: "stock"` took effect for the whole Llama instance. */
    get active(): boolean {
        return this.#native !== null && !this.#disposed;
    }

    /** The names that `kvCache` takes. */
    get tiers(): string[] {
        return [...this.policy.tiers.keys(), stockCacheName];
    }

    /** @throws DeltaStoreError DISPOSED, or OPTION_INVALID if the context has the stock cache */
    stats(context: LlamaContext): CacheStats {
        if (context.disposed) throw new DeltaStoreError("DISPOSED", "The context is disposed");
        if (this.#native === null) throw new DeltaStoreError("OPTION_INVALID", "The context has the stock cache");
        try {
            return this.#native.stats(contextInternals(context)._ctx);
        } catch (error) {
            throw toDeltaStoreError(error);
        }
    }

    /** Contexts created from now on are stock's; those that exist go on. Idempotent. */
    dispose(): void {
        if (this.#disposed) return;
        this.#disposed = true;
        if (stores.get(this.#llama) === this) stores.delete(this.#llama);
        const bindings = llamaInternals(this.#llama)._bindings;
        if (this.#stockClass !== null && bindings.AddonContext === this.#packedClass) bindings.AddonContext = this.#stockClass;
    }

    [Symbol.dispose](): void {
        this.dispose();
    }

    /** @internal @throws the error that attaching ended with, where it could not be thrown */
    ensureServing(): void {
        if (this.#failure !== null) throw this.#failure;
    }

    /** @internal Warns and returns true if the policy asks for the stock cache after this error. */
    fallsBackToStock(error: unknown): boolean {
        if (this.policy.onUnsupported !== "stock" || !isUnsupported(error)) return false;
        process.emitWarning(`llama-deltastore uses the stock cache: ${error.message}`, {code: `DELTASTORE_${error.code}`});
        return true;
    }
}

/** The store that serves contexts of this Llama instance, if `attach` was called for it. */
export function storeOf(llama: Llama): DeltaStore | undefined {
    return stores.get(llama);
}

export interface KvCacheOption {
    kvCache?: string;
    experimentalKvCacheKeyType?: unknown;
    experimentalKvCacheValueType?: unknown;
}

let patched = false;

/** node-llama-cpp passes unknown options of createContext on to nobody, so this is where `kvCache` is seen. Once a process. */
function patchClasses(): void {
    if (patched) return;
    patched = true;
    const createContext = LlamaModel.prototype.createContext;
    LlamaModel.prototype.createContext = async function (this: LlamaModel, options = {}) {
        const store = stores.get(this.llama);
        if (store === undefined) {
            const wanted = (options as KvCacheOption).kvCache;
            if (wanted !== undefined && wanted !== stockCacheName)
                throw new DeltaStoreError("DISPOSED", `kvCache is ${JSON.stringify(wanted)}, but no store is attached to this Llama instance`);
            return await createContext.call(this, options);
        }
        const tier = chosenTier(store, options);
        if (tier !== null) store.ensureServing();
        if (tier === null || !store.active) return await createContext.call(this, options);
        const creation: Creation = {store, tier, failure: undefined, handles: []};
        instrument(this);
        try {
            return await currentCreation.run(creation, () => createContext.call(this, options));
        } catch (error) {
            for (const handle of creation.handles) handle.dispose();
            throw creation.failure ?? error;
        }
    };

    // After a failed evaluation node-llama-cpp takes the sequence to be where it was; rows of its evaluated part would be in the way.
    const prototype = LlamaContext.prototype as unknown as ReturnType<typeof contextInternals>;
    const decodeTokens = prototype._decodeTokens;
    prototype._decodeTokens = async function (request, map) {
        const {sequenceId, firstTokenSequenceIndex} = request;
        try {
            return await decodeTokens.call(this, request, map);
        } catch (error) {
            if (error instanceof DeltaStoreError && error.code !== "DISPOSED")
                this._ctx.removeTokenCellsFromSequence(sequenceId, firstTokenSequenceIndex, -1);
            throw error;
        }
    };

    // A sequence takes over the other's tokens before its rows are copied; without the rows it must not keep them.
    const sequences = LlamaContextSequence.prototype as unknown as SequenceInternals;
    const copyState = sequences._copyStateFromOtherSequence;
    sequences._copyStateFromOtherSequence = async function (other, upToTokenIndex) {
        try {
            return await copyState.call(this, other, upToTokenIndex);
        } catch (error) {
            if (error instanceof DeltaStoreError) {
                this._contextTokens = [];
                this._nextTokenIndex = 0;
            }
            throw error;
        }
    };
}

function chosenTier(store: DeltaStore, options: object): Creation["tier"] {
    const {kvCache, experimentalKvCacheKeyType, experimentalKvCacheValueType} = options as KvCacheOption;
    if (kvCache === stockCacheName) return null;
    const type = experimentalKvCacheKeyType ?? experimentalKvCacheValueType;
    if (type !== undefined)
        throw new DeltaStoreError("KV_CACHE_TYPE_CONFLICT",
            `experimentalKvCache${experimentalKvCacheKeyType === undefined ? "Value" : "Key"}Type is ${JSON.stringify(type)} and kvCache is ` +
            `${JSON.stringify(kvCache ?? store.policy.defaultTier)}; set kvCache: "stock" to use stock's types`);
    if (kvCache !== undefined && typeof kvCache !== "string")
        throw new DeltaStoreError("OPTION_INVALID", `kvCache is ${JSON.stringify(kvCache)}; allowed: ${store.tiers.join(", ")}`);
    return resolveTier(store.policy, kvCache ?? store.policy.defaultTier);
}

const instrumented = new WeakSet<LlamaModel>();

/** Once a model: remember disposal handles of a creation, and keep estimates of different caches apart. */
function instrument(model: LlamaModel): void {
    if (instrumented.has(model)) return;
    instrumented.add(model);
    const {_backendModelDisposeGuard: guard, fileInsights} = modelInternals(model);
    const createHandle = guard.createPreventDisposalHandle.bind(guard);
    guard.createPreventDisposalHandle = (ignoreAwaiting) => {
        const handle = createHandle(ignoreAwaiting);
        currentCreation.getStore()?.handles.push(handle);
        return handle;
    };
    const cache = fileInsights._exactContextResourceRequirementsCache;
    const [get, set] = [cache.get.bind(cache), cache.set.bind(cache)];
    const keyed = (key: string) => {
        const tier = currentCreation.getStore()?.tier;
        const limit = currentCreation.getStore()?.store.policy.poolLimitBytes;
        return tier ? `${key}:${tier.format}:${tier.window}:${tier.sinks}:${limit}` : key;
    };
    cache.get = (key) => get(keyed(key));
    cache.set = (key, value) => set(keyed(key), value);
}
