import type {LlamaModel} from "node-llama-cpp";
import type {CacheEvent} from "../events.js";
import type {NativeBinding, NativeTier} from "../engine/native.js";
import {DeltaStoreError} from "../errors.js";
import {pageFormatOf, tiersBeside, type Policy, type Tier} from "../policy/tiers.js";
import type {AddonContext, AddonContextParams} from "../runtime/addon.js";
import {BetweenBatches} from "../runtime/between-batches.js";
import {Origin} from "./origin.js";
import type {ContextOwner} from "./owner.js";
import type {Packed} from "./packed.js";
import {PoolPressure} from "./pool-pressure.js";
import {keptPrefixSlots, keptStateSlots} from "./kept-prefixes.js";
import {PrefixSharing} from "./prefix-sharing.js";
import {SequenceLives} from "./sequence-life.js";
import {SequenceTiers} from "./sequence-tiers.js";

/** node-llama-cpp's defaults, for what `createContext` leaves out. */
const defaultCells = 4096, defaultBatchSize = 512;

export const cellsOf = ({contextSize = defaultCells}: AddonContextParams): number => contextSize;

/**
 * Replaces the memory of a native context by a packed cache.
 * @throws errors of the engine: MODEL_UNSUPPORTED, FLASH_ATTENTION_REQUIRED and others; DeltaStoreError POOL_LIMIT_REACHED: no tier of the policy has
 *     room for one token
 */
export async function adopt(context: AddonContext, native: NativeBinding, {policy}: ContextOwner, own: Tier, params: AddonContextParams): Promise<void> {
    await native.adoptContext(context, {
        tier: nativeTier(own), others: tiersBeside(own, policy).map(nativeTier),
        poolLimitBytes: policy.poolLimitBytes,
        keptPrefixes: policy.sharing.automatic ? keptPrefixSlots : 0, keptStates: policy.sharing.automatic ? keptStateSlots : 0,
        contextCells: cellsOf(params), batchSize: params.batchSize ?? defaultBatchSize,
        allowsGpuLayers: policy.gpuLayers === "host"
    });
    if (policy.poolLimitBytes > 0) requireRoom(context, native, policy, own);
}

/** @throws DeltaStoreError POOL_LIMIT_REACHED: a sequence can't hold one token, whichever tier it has */
function requireRoom(context: AddonContext, native: NativeBinding, policy: Policy, own: Tier): void {
    const {poolLimitBytes: limit} = policy, missing = missingForOneToken(context, native);
    if (missing === 0) return;
    const fits = tiersBeside(own, policy).some(({name}) => takes(context, native, name) && missingForOneToken(context, native) === 0);
    native.setTier(context, 0, own.name);
    if (!fits)
        throw new DeltaStoreError("POOL_LIMIT_REACHED", `The pool's limit of ${limit} bytes (policy: pool.limit) has no room for a single token. This context's tier ` +
            `${JSON.stringify(own.name)} needs at least ${limit + missing} bytes: raise the limit`);
}

/** The bytes that the pool's limit lacks for one token of the first sequence, which is empty; 0 if it has room. */
function missingForOneToken(context: AddonContext, native: NativeBinding): number {
    native.beginAdmission(context);
    const fits = native.admit(context, 0, 0, 1);
    native.beginAdmission(context);  // forgets the token, which is not evaluated
    if (fits) return 0;
    return native.takeFailure(context)!.missingBytes;
}

/** Whether the first sequence can have this tier. Then it does. A model with ALiBi has none that evicts. */
function takes(context: AddonContext, native: NativeBinding, tier: string): boolean {
    try {
        native.setTier(context, 0, tier);
        return true;
    } catch {
        return false;
    }
}

/** A tier as the engine takes it. */
export function nativeTier(tier: Tier): NativeTier {
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
    if (policy.sharing.automatic) sharing = new PrefixSharing(context, native, policy.sharing, sequences, tiers, emit);
    const pressure = new PoolPressure(context, native, policy, tiers, batchSize, () => sharing?.dropOldest() ?? false);
    const seconds = policy.turns?.park ?? null;
    const parking = seconds === null ? null : owner.newParking(context, seconds, {native, origin, tiers, pressure, sharing, emit});
    pressure.parking = parking;
    const between = new BetweenBatches();
    return {native, lives: new SequenceLives(between), origin, tiers, sharing, pressure, between, parking, saving: new Set(), emit};
}
