import {inspect} from "node:util";
import {LlamaContext, LlamaModel, type Llama, type LlamaContextOptions} from "node-llama-cpp";
import {f16Types, hasDefaultTypes, typeConflict, type CacheTypes} from "./cache-types.js";
import {currentCreation, type Creation} from "../context/creation.js";
import {DeltaStoreError} from "../errors.js";
import {invalid} from "../options.js";
import {packedOf} from "../context/packed.js";
import {nearestName} from "../nearest.js";
import {pageFormatOf, requireTierName, resolveTier, stockCacheName} from "../policy/tiers.js";
import {modelInternals, sequenceInternals} from "../runtime/internals.js";
import {addonContextOf, hadStore, rememberContext, storeOf, type DeltaStore} from "./store.js";

interface ContextOptions extends CacheTypes {
    kvCache?: unknown;
    flashAttention?: unknown;
    /** Of embedding and ranking contexts, which node-llama-cpp makes by createContext, too. */
    _embeddings?: unknown;
}

// node-llama-cpp hands createContext's unknown options on to nobody, so this is where `kvCache` is seen. From the package's import on,
// so that a tier for a Llama instance without a store is an error.
const createContext = LlamaModel.prototype.createContext;
LlamaModel.prototype.createContext = async function (this: LlamaModel, options = {}) {
    refuseMisspellings("createContext", options, ["kvCache"]);
    const store = storeOf(this.llama);
    if (store === undefined) {
        const {kvCache} = options as ContextOptions;
        if (kvCache !== undefined && kvCache !== stockCacheName) throw withoutStore(this.llama, kvCache);
        return await createContext.call(this, options);
    }
    const tier = chosenTier(store, this, options);
    if (tier !== null) store.ensureServing();
    if (tier === null || !store.active) return await createContext.call(this, options);
    const creation: Creation = {store, model: this, tier, flashAttentionOff: hasFlashAttentionOff(this, options), failure: undefined, handles: []};
    instrument(this);
    let context: LlamaContext;
    try {
        context = await currentCreation.run(creation, () => createContext.call(this, {...options, ...f16Types}));
    } catch (error) {
        for (const handle of creation.handles) handle.dispose();
        throw creation.failure ?? error;
    }
    if (creation.tier === null && hasDefaultTypes(this)) {
        // It was given F16, but is no packed one.
        await context.dispose();
        return await createContext.call(this, options);
    }
    rememberContext(context);
    if (store.policy.turns !== null) packedOf(addonContextOf(context))?.origin.begin();  // so that no first save has others wait for it
    return context;
};

// A decision context has its LlamaContext created with options of node-llama-cpp's choice.
const createDecisionContext = LlamaModel.prototype.createDecisionContext;
LlamaModel.prototype.createDecisionContext = async function (this: LlamaModel, options = {}) {
    refuseMisspellings("createDecisionContext", options, ["kvCache"]);
    const {kvCache} = options as ContextOptions;
    const asking = Object.create(this, {
        createContext: {value: async (others: LlamaContextOptions) => await this.createContext({...others, kvCache} as LlamaContextOptions)}
    }) as LlamaModel;
    return await createDecisionContext.call(kvCache === undefined ? this : asking, options);
};

/**
 * What node-llama-cpp doesn't know it ignores, so a misspelled option of ours would do nothing. One that begins otherwise, or has
 * other letters than a short name, may be the app's own.
 */
function refuseMisspellings(method: string, options: object, ours: readonly string[]): void {
    for (const option of Object.keys(options)) {
        const meant = nearestName(option, ours.filter((name) => name[0] === option[0]?.toLowerCase() && (name.length > 4 || lettersOf(name) === lettersOf(option))));
        if (meant !== null && meant !== option) throw invalid(`${method} has no option ${JSON.stringify(option)} (did you mean ${JSON.stringify(meant)}?)`);
    }
}

const lettersOf = (word: string): string => [...word.toLowerCase()].sort().join("");

function withoutStore(llama: Llama, kvCache: unknown): DeltaStoreError {
    const what = `kvCache is ${typeof kvCache === "string" ? JSON.stringify(kvCache) : inspect(kvCache, {depth: 0})}, but`;
    const advice = `, or leave kvCache out or "${stockCacheName}" for the stock cache`;
    return hadStore(llama)
        ? new DeltaStoreError("DISPOSED", `${what} this Llama instance's store is disposed. Call attach(llama) again${advice}`)
        : new DeltaStoreError("NOT_ATTACHED", `${what} this Llama instance has no store. Call attach(llama) first${advice}`);
}

// The same for getSequence's options.
const getSequence = LlamaContext.prototype.getSequence;
LlamaContext.prototype.getSequence = function (this: LlamaContext, options: Parameters<typeof getSequence>[0] & SequenceOptions = {}) {
    const {kvCache, name, sharingGroup, ...others} = options ?? {}, packed = packedOf(addonContextOf(this));
    refuseMisspellings("getSequence", others, ["kvCache", "name", "sharingGroup"]);
    for (const [option, value] of Object.entries({name, sharingGroup}))
        if (value !== undefined && (typeof value !== "string" || value === ""))
            throw new DeltaStoreError("OPTION_INVALID", `${option} is ${inspect(value, {depth: 0})}; allowed is a name, or leave it out`);
    if (kvCache !== undefined && packed === undefined)
        throw new DeltaStoreError("OPTION_INVALID", `kvCache is ${inspect(kvCache, {depth: 0})}, but the context has the stock cache`);
    if (kvCache !== undefined) requireTierName("kvCache", kvCache, packed!.tiers.names);
    const sequence = getSequence.call(this, others), {_sequenceId: sequenceId} = sequenceInternals(sequence);
    if (packed === undefined) return sequence;
    packed.lives.begin(sequence);
    try {
        packed.tiers.begin(sequenceId, name as string | undefined, kvCache);
    } catch (error) {
        sequence.dispose();
        throw error;
    }
    packed.sharing?.setGroup(sequenceId, sharingGroup as string | undefined);
    return sequence;
};

interface SequenceOptions {
    kvCache?: unknown;
    name?: unknown;
    sharingGroup?: unknown;
}

/** Null for the stock cache. */
function chosenTier(store: DeltaStore, model: LlamaModel, options: object): Creation["tier"] {
    const {kvCache, _embeddings, ...types} = options as ContextOptions;
    if (kvCache === stockCacheName || _embeddings) return null;
    if (kvCache !== undefined) requireTierName("kvCache", kvCache, store.tiers);
    const tier = resolveTier(store.policy, kvCache ?? store.policy.defaultTier), conflict = typeConflict(model, types, tier, kvCache !== undefined);
    if (conflict === null) return tier;
    if (!store.fallsBackToStock(conflict, kvCache === undefined)) throw conflict;
    return null;
}

/** And not for the model's sake. */
function hasFlashAttentionOff(model: LlamaModel, options: object): boolean {
    const {kvCache, flashAttention} = options as ContextOptions;
    return kvCache === undefined && model.flashAttentionSupported && !(flashAttention ?? model.defaultContextFlashAttention);
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
    // node-llama-cpp would go on with an estimate of its own, and log the same error with each further one.
    const estimate = model.fileInsights.estimateContextResourceRequirementsV2.bind(model.fileInsights);
    model.fileInsights.estimateContextResourceRequirementsV2 = async (options) => {
        const requirements = await estimate(options), failure = currentCreation.getStore()?.failure;
        if (failure !== undefined) throw failure;
        return requirements;
    };
    const cache = fileInsights._exactContextResourceRequirementsCache;
    const [get, set] = [cache.get.bind(cache), cache.set.bind(cache)];
    const keyed = (key: string) => {
        const tier = currentCreation.getStore()?.tier;
        const limit = currentCreation.getStore()?.store.policy.poolLimitBytes;
        return tier ? `${key}:${pageFormatOf(tier)}:${tier.window}:${tier.windowFormat}:${tier.sinks}:${limit}` : key;
    };
    cache.get = (key) => get(keyed(key));
    cache.set = (key, value) => set(keyed(key), value);
}
