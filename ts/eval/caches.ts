import type {LlamaContextOptions} from "node-llama-cpp";
import type {PolicyFile, PolicyTier} from "../policy/policy-file.js";
import {builtInTiers, stockCacheName, unknownTier, type Policy} from "../policy/tiers.js";

/** One of the caches that are compared. */
export interface EvalCache {
    readonly name: string;
    /** Options of `createContext`. */
    readonly options: LlamaContextOptions & {kvCache: string};
    /** What a value takes, in a stock cache, whose bytes nobody reports. */
    readonly bitsPerValue?: number;
    /** With all that decides on its results: those of another definition aren't this cache's. */
    readonly definition: string;
}

const stock = {kvCache: stockCacheName, flashAttention: true} as const;
const ofType = (type: "Q8_0" | "Q4_0") => ({...stock, experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});

/** Stock's F16 cache: what every other one is compared with. */
export const reference: EvalCache = {name: "stock", definition: "stock", options: stock, bitsPerValue: 16};

/** Besides the tiers, which can't have these names: tiers have no underscores. */
const stockCaches: readonly EvalCache[] = [
    reference,
    {name: "stock-f16_plain", definition: "stock-f16_plain", options: {...stock, flashAttention: false}, bitsPerValue: 16},
    {name: "stock-q8_0", definition: "stock-q8_0", options: ofType("Q8_0"), bitsPerValue: 8.5},
    {name: "stock-q4_0", definition: "stock-q4_0", options: ofType("Q4_0"), bitsPerValue: 4.5}
];

export const stockCacheNames: readonly string[] = stockCaches.map(({name}) => name);
export const defaultCacheNames: readonly string[] = ["stock-q8_0", "stock-q4_0", ...builtInTiers.keys()];

/**
 * The caches of these names, each once and without the reference, which always takes part.
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

/** The policy with each tier a second time, without a window; see `windowless`. */
export function withWindowlessTiers(file: PolicyFile, policy: Policy): PolicyFile {
    const tiers: Record<string, PolicyTier> = {...file.tiers};
    for (const {name, format} of policy.tiers.values()) {
        if (format === "f16") continue;
        const {important: _, ...tier} = file.tiers?.[name] ?? {extends: name as NonNullable<PolicyTier["extends"]>};
        tiers[windowlessName(name)] = {...tier, window: 0};
    }
    return {...file, tiers};
}

/** The cache with every row packed before any query sees it, if it packs rows; the policy is one of `withWindowlessTiers`. */
export function windowless(cache: EvalCache, policy: Policy): EvalCache {
    const tier = policy.tiers.get(windowlessName(cache.options.kvCache));
    return tier === undefined ? cache : {name: cache.name, options: {kvCache: tier.name}, definition: JSON.stringify(tier)};
}
