import {inspect} from "node:util";
import {LlamaContext, LlamaModel, type Llama, type LlamaContextOptions} from "node-llama-cpp";
import {f16Types, hasDefaultTypes, typeConflict, type CacheTypes} from "./cache-types.js";
import {currentCreation, type Creation} from "../context/creation.js";
import {DeltaStoreError} from "../errors.js";
import {invalid} from "../options.js";
import {packedOf} from "../context/packed.js";
import {nearestName} from "../nearest.js";
import {pageFormatOf, requireTierName, resolveTier, stockCacheName} from "../policy/tiers.js";
import {watchCreations, type CreationWatch} from "../runtime/context-creations.js";
import {addonContextOf, isForEmbeddings} from "../runtime/contexts.js";
import {sequenceIdOf} from "../runtime/sequences.js";
import {hadStore, rememberContext, storeOf, type DeltaStore} from "./store.js";

interface ContextOptions extends CacheTypes {
    kvCache?: unknown;
    flashAttention?: unknown;
}

// node-llama-cpp hands createContext's unknown options on to nobody, so `kvCache` is read here. The method is replaced when the package is
// imported: so a tier for a Llama instance without a store is an error.
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
    const creation: Creation = {owner: store, model: this, tier, flashAttentionOff: hasFlashAttentionOff(this, options), failure: undefined, handles: []};
    // node-llama-cpp leaves it off where keys and values have different lengths. A packed cache can have it there.
    const own = (options as ContextOptions).flashAttention === undefined && !this.flashAttentionSupported ? {...f16Types, flashAttention: true} : f16Types;
    watchCreations(this, ofCurrentCreation);
    let context: LlamaContext;
    try {
        context = await currentCreation.run(creation, () => createContext.call(this, {...options, ...own}));
    } catch (error) {
        for (const handle of creation.handles) handle.dispose();
        throw creation.failure ?? error;
    }
    if (creation.tier === null && (own !== f16Types || hasDefaultTypes(this))) {
        // It fell back to the stock cache, and has other settings than the app's or the model's.
        await context.dispose();
        return await createContext.call(this, options);
    }
    rememberContext(context);
    if (store.policy.turns !== null) packedOf(addonContextOf(context))?.origin.begin();  // now, so that the first save holds nobody up
    return context;
};

// node-llama-cpp chooses the options of a decision context's LlamaContext. `kvCache` is added to them. It has such contexts since 3.22.
const createDecisionContext = LlamaModel.prototype.createDecisionContext as LlamaModel["createDecisionContext"] | undefined;
if (createDecisionContext !== undefined) LlamaModel.prototype.createDecisionContext = async function (this: LlamaModel, options = {}) {
    refuseMisspellings("createDecisionContext", options, ["kvCache"]);
    const {kvCache} = options as ContextOptions;
    const asking = Object.create(this, {
        createContext: {value: async (others: LlamaContextOptions) => await this.createContext({...others, kvCache} as LlamaContextOptions)}
    }) as LlamaModel;
    return await createDecisionContext.call(kvCache === undefined ? this : asking, options);
};

/**
 * node-llama-cpp ignores options that it doesn't know, so a misspelled option of ours would do nothing. An option with another first letter, or
 * with other letters than a short name of ours, may be the app's own.
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

// Reads getSequence's options in the same way.
const getSequence = LlamaContext.prototype.getSequence;
LlamaContext.prototype.getSequence = function (this: LlamaContext, options: Parameters<typeof getSequence>[0] & SequenceOptions = {}) {
    const {kvCache, name, sharingGroup, ...others} = options ?? {}, packed = packedOf(addonContextOf(this));
    refuseMisspellings("getSequence", others, ["kvCache", "name", "sharingGroup"]);
    for (const [option, value] of Object.entries({name, sharingGroup}))
        if (value !== undefined && (typeof value !== "string" || value === ""))
            throw invalid(`${option} is ${inspect(value, {depth: 0})}; allowed is a name, or leave it out`);
    if (kvCache !== undefined && packed === undefined)
        throw invalid(`kvCache is ${inspect(kvCache, {depth: 0})}, but the context has the stock cache`);
    if (kvCache !== undefined) requireTierName("kvCache", kvCache, packed!.tiers.names);
    const sequence = getSequence.call(this, others), sequenceId = sequenceIdOf(sequence);
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

/** The tier of the context to create; null for the stock cache. */
function chosenTier(store: DeltaStore, model: LlamaModel, options: object): Creation["tier"] {
    const {kvCache, ...types} = options as ContextOptions;
    if (kvCache === stockCacheName || isForEmbeddings(options)) return null;
    if (kvCache !== undefined) requireTierName("kvCache", kvCache, store.tiers);
    const tier = resolveTier(store.policy, kvCache ?? store.policy.defaultTier), conflict = typeConflict(model, types, tier, kvCache !== undefined);
    if (conflict === null) return tier;
    if (!store.fallsBackToStock(conflict, kvCache === undefined)) throw conflict;
    return null;
}

/** Whether the app turns flash attention off and asks for no tier. A model that can't have it does not count. */
function hasFlashAttentionOff(model: LlamaModel, options: object): boolean {
    const {kvCache, flashAttention} = options as ContextOptions;
    return kvCache === undefined && model.flashAttentionSupported && !(flashAttention ?? model.defaultContextFlashAttention);
}

/** Remembers the disposal handles of the current creation, ends it at its first error, and keeps estimates of different caches apart. */
const ofCurrentCreation: CreationWatch = {
    handleMade: (handle) => void currentCreation.getStore()?.handles.push(handle),
    failure: () => currentCreation.getStore()?.failure,
    cacheKey: (key) => {
        const {tier, owner} = currentCreation.getStore() ?? {};
        return tier ? `${key}:${pageFormatOf(tier)}:${tier.window}:${tier.windowFormat}:${tier.sinks}:${owner!.policy.poolLimitBytes}` : key;
    }
};
