import {inspect} from "node:util";
import {GgmlType, type LlamaModel} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import type {Tier} from "../policy/tiers.js";
import {llamaInternals} from "../runtime/internals.js";

/** Options of createContext for the stock cache's types; node-llama-cpp takes the model's default where one is left out. */
export interface CacheTypes {
    experimentalKvCacheKeyType?: unknown;
    experimentalKvCacheValueType?: unknown;
}

/**
 * What the types that an app asks for have against a tier. A type that createContext is given is the app's choice, F16 too: a tier that packs rows is
 * not what was asked for, while one that keeps them F16 is. A model's default type counts where the app asks for no tier; F16 does not, as loadModel
 * makes that of no type, too.
 * @param asked whether the app asks for this tier
 */
export function typeConflict(model: LlamaModel, types: CacheTypes, tier: Tier, asked: boolean): DeltaStoreError | null {
    for (const part of ["Key", "Value"] as const) {
        const type = types[`experimentalKvCache${part}Type`], byDefault = model[`defaultContextKvCache${part}Type`];
        if (type === undefined || type === null) {
            if (!asked && byDefault !== GgmlType.F16)
                return conflict(`loadModel's experimentalDefaultContextKvCache${part}Type`, byDefault, tier, `kvCache: ${JSON.stringify(tier.name)} for this one`);
        } else if (tier.format !== "f16" || !isF16(model, type, byDefault))
            return conflict(`experimentalKvCache${part}Type`, type, tier, "leave the type out for this one");
    }
    return null;
}

/** As node-llama-cpp resolves it. */
function isF16(model: LlamaModel, type: unknown, byDefault: GgmlType): boolean {
    const resolved = type === "currentQuant" ? model.fileInsights.dominantTensorType ?? byDefault : llamaInternals(model.llama)._bindings.getGgmlType(type);
    return resolved === GgmlType.F16;
}

function conflict(option: string, type: unknown, tier: Tier, otherwise: string): DeltaStoreError {
    const name = typeof type === "number" ? GgmlType[type] ?? type : type, given = typeof name === "string" ? JSON.stringify(name) : inspect(name, {depth: 0});
    return new DeltaStoreError("KV_CACHE_TYPE_CONFLICT", `${option} is ${given}, which a cache of the tier ${JSON.stringify(tier.name)} can't have. ` +
        `Set kvCache: "stock" for a cache of that type, or ${otherwise}`);
}

/** For a packed cache, whose context is not to claim another type. */
export const f16Types = {experimentalKvCacheKeyType: "F16", experimentalKvCacheValueType: "F16"} as const;

/** Whether its contexts have other types than F16 where they are given none. */
export function hasDefaultTypes({defaultContextKvCacheKeyType, defaultContextKvCacheValueType}: LlamaModel): boolean {
    return defaultContextKvCacheKeyType !== GgmlType.F16 || defaultContextKvCacheValueType !== GgmlType.F16;
}
