import {inspect} from "node:util";
import {GgmlType, type LlamaModel} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import type {Tier} from "../policy/tiers.js";
import {ggmlTypeOf} from "../runtime/llamas.js";

/** The options of createContext for the stock cache's types. Where one is left out, node-llama-cpp takes the model's default. */
export interface CacheTypes {
    experimentalKvCacheKeyType?: unknown;
    experimentalKvCacheValueType?: unknown;
}

/**
 * The conflict between a tier and the cache types that an app asks for; null if there is none. A type that createContext is given is the
 * app's choice. F16 is one, too: it conflicts with tiers that pack rows. A model's default type counts where the app asks for no tier.
 * F16 does not count there, as it is also what loadModel sets when it is given no type.
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

/** Resolves a type as node-llama-cpp does. */
function isF16(model: LlamaModel, type: unknown, byDefault: GgmlType): boolean {
    const resolved = type === "currentQuant" ? model.fileInsights.dominantTensorType ?? byDefault : ggmlTypeOf(model.llama, type);
    return resolved === GgmlType.F16;
}

function conflict(option: string, type: unknown, tier: Tier, otherwise: string): DeltaStoreError {
    const name = typeof type === "number" ? GgmlType[type] ?? type : type, given = typeof name === "string" ? JSON.stringify(name) : inspect(name, {depth: 0});
    return new DeltaStoreError("KV_CACHE_TYPE_CONFLICT", `${option} is ${given}, which a cache of the tier ${JSON.stringify(tier.name)} can't have. ` +
        `Set kvCache: "stock" for a cache of that type, or ${otherwise}`);
}

/** The types of a packed cache's context: it must not claim others. */
export const f16Types = {experimentalKvCacheKeyType: "F16", experimentalKvCacheValueType: "F16"} as const;

/** Whether contexts of the model that are given no types have others than F16. */
export function hasDefaultTypes({defaultContextKvCacheKeyType, defaultContextKvCacheValueType}: LlamaModel): boolean {
    return defaultContextKvCacheKeyType !== GgmlType.F16 || defaultContextKvCacheValueType !== GgmlType.F16;
}
