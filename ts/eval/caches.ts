import type {LlamaContextOptions} from "node-llama-cpp";
import type {PolicyFile, PolicyTier} from "../policy/policy-file.js";
import {builtInTiers, stockCacheName, unknownTier, type Policy} from "../policy/tiers.js";

/** One of the caches that are compared. */
export interface EvalCache {
    readonly name: string;
    /** Options of `createContext`. */
    readonly options: LlamaContextOptions & {kvCache: string};
    /** Bits of a value in a stock cache, whose bytes nobody reports: they are computed. */
    readonly bitsPerValue?: number;
    /** All that the results depend on. Results of another definition are not this cache's. */
    readonly definition: string;
}

const stock = {kvCache: stockCacheName, flashAttention: true} as const;
const ofType = (type: "Q8_0" | "Q4_0") => ({...stock, experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});

/** Stock's F16 cache. Every other one is compared with it. */
export const reference: EvalCache = {name: "stock", definition: "stock", options: stock, bitsPerValue: 16};

/** No tier can have one of these names: a tier's name has no underscore. */
const stockCaches: readonly EvalCache[] = [
    reference,
    {name: "stock-f16_plain", definition: "stock-f16_plain", options: {...stock, flashAttention: false}, bitsPerValue: 16},
    {name: "stock-q8_0", definition: "stock-q8_0", options: ofType("Q8_0"), bitsPerValue: 8.5},
    {name: "stock-q4_0", definition: "stock-q4_0", options: ofType("Q4_0"), bitsPerValue: 4.5}
];

export const stockCacheNames: readonly string[] = stockCaches.map(({name}) => name);
export const defaultCacheNames: readonly string[] = ["stock-q8_0", "stock-q4_0", ...builtInTiers.keys()];

/**
 * The caches of these names, each once. The reference is left out, as it always takes part.
 * @throws DeltaStoreError TIER_UNKNOWN with the nearest name
 */
export function resolveCaches(policy: Policy, names: readonly string[]): EvalCache[] {
    return [...new Set(names)].map((name) => resolveCache(policy, name)).filter((cache) => cache !== reference);
}

function resolveCache(policy: Policy, name: string): EvalCache {
    const found = stockCaches.find((cache) => cache.name === name);
    if (found !== undefined) return found;
    const tier = policy.tiers.get(name);
    if (tier === undefined) throw unknownTier(name, [...policy.tiers.keys(), ...stockCacheNames]);
    return {name, options: {kvCache: name}, definition: JSON.stringify(tier)};
}

const windowlessName = (tier: string) => `${tier}-window-0`;

/** The policy with a second tier for each that packs rows: the same without a window, for `windowless`. */
export function withWindowlessTiers(file: PolicyFile, policy: Policy): PolicyFile {
    const tiers: Record<string, PolicyTier> = {...file.tiers};
    for (const {name, format} of policy.tiers.values()) {
        if (format === "f16") continue;
        const {important: _, ...tier} = file.tiers?.[name] ?? {extends: name as NonNullable<PolicyTier["extends"]>};
        tiers[windowlessName(name)] = {...tier, window: 0};
    }
    return {...file, tiers};
}

/**
 * The same cache without a window: every row is packed before any query sees it. A cache that packs no rows is given as it is.
 * @param policy one of `withWindowlessTiers`
 */
export function windowless(cache: EvalCache, policy: Policy): EvalCache {
    const tier = policy.tiers.get(windowlessName(cache.options.kvCache));
    return tier === undefined ? cache : {name: cache.name, options: {kvCache: tier.name}, definition: JSON.stringify(tier)};
}
