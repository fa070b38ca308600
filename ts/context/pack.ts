import type {LlamaModel} from "node-llama-cpp";
import type {CacheEvent} from "../events.js";
import type {NativeBinding, NativeTier} from "../engine/native.js";
import {pageFormatOf, tiersBeside, type Tier} from "../policy/tiers.js";
import type {AddonContext, AddonContextParams} from "../runtime/addon.js";
import {BetweenBatches} from "../runtime/between-batches.js";
import {Origin} from "./origin.js";
import type {ContextOwner} from "./owner.js";
import type {Packed} from "./packed.js";
import {PoolPressure} from "./pool-pressure.js";
import {keptPrefixSlots, PrefixSharing} from "./prefix-sharing.js";
import {SequenceLives} from "./sequence-life.js";
import {SequenceTiers} from "./sequence-tiers.js";

/** node-llama-cpp's defaults, for what `createContext` leaves out. */
const defaultCells = 4096, defaultBatchSize = 512;

export const cellsOf = ({contextSize = defaultCells}: AddonContextParams): number => contextSize;

/**
 * Replaces the memory of a native context by a packed cache.
 * @throws DeltaStoreError, or the engine's error with such a code: MODEL_UNSUPPORTED, FLASH_ATTENTION_REQUIRED and others of `adoptContext`
 */
export async function adopt(context: AddonContext, native: NativeBinding, {policy}: ContextOwner, own: Tier, params: AddonContextParams): Promise<void> {
    await native.adoptContext(context, {
        tier: nativeTier(own), others: tiersBeside(own, policy).map(nativeTier),
        poolLimitBytes: policy.poolLimitBytes, keptPrefixes: policy.sharing.automatic ? keptPrefixSlots : 0,
        contextCells: cellsOf(params), batchSize: params.batchSize ?? defaultBatchSize
    });
}

function nativeTier(tier: Tier): NativeTier {
    const {name, window, windowFormat, sinks, eviction} = tier;
    return {name, format: pageFormatOf(tier), window, windowFormat, sinks, eviction};
}

/**
 * Makes the parts of a packed cache that live beside its native context.
 * @throws DeltaStoreError MODEL_UNSUPPORTED
 */
export function newPacked(context: AddonContext, native: NativeBinding, owner: ContextOwner, own: Tier, {sequences = 1, batchSize = defaultBatchSize}: AddonContextParams,
                        model: LlamaModel): Packed {
    const {policy} = owner, emit = (event: CacheEvent) => owner.emit(context, event), origin = new Origin(context, native, model);
    let sharing: PrefixSharing | null = null;
    const tiers = new SequenceTiers(context, native, policy, own, {emit, changed: (sequenceId) => sharing?.truncated(sequenceId, 0)});
    if (policy.sharing.automatic)
        sharing = new PrefixSharing(context, native, policy.sharing, sequences, tiers, emit);
    const pressure = new PoolPressure(context, native, policy, tiers, batchSize, () => sharing?.dropOldest() ?? false);
    const seconds = policy.turns?.park ?? null;
    const parking = seconds === null ? null : owner.newParking(context, seconds, {native, origin, tiers, pressure, sharing, emit});
    pressure.parking = parking;
    const between = new BetweenBatches();
    return {native, lives: new SequenceLives(between), origin, tiers, sharing, pressure, between, parking, saving: new Set(), emit};
}
