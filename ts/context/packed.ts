import type {BetweenBatches} from "../runtime/between-batches.js";
import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Origin} from "./origin.js";
import type {PoolPressure} from "./pool-pressure.js";
import type {PrefixSharing} from "./prefix-sharing.js";
import type {SequenceLives} from "./sequence-life.js";
import type {SequenceTiers} from "./sequence-tiers.js";
import type {Parking} from "./parking.js";

/** The parts of a packed cache that live beside its native context. */
export interface Packed {
    readonly native: NativeBinding;
    readonly lives: SequenceLives;
    readonly origin: Origin;
    readonly tiers: SequenceTiers;
    /** Null if the policy turns automatic sharing off. */
    readonly sharing: PrefixSharing | null;
    readonly pressure: PoolPressure;
    readonly between: BetweenBatches;
    /** Null if the policy parks no sequences. */
    readonly parking: Parking | null;
    /** Turns that are being saved. The context's disposal waits for them. */
    readonly saving: Set<Promise<unknown>>;
    emit(event: CacheEvent): void;
}

const packedContexts = new WeakMap<object, Packed>();

/** The parts of this native context, whichever store it is of; undefined if it has the stock cache. */
export const packedOf = (context: object): Packed | undefined => packedContexts.get(context);

export function setPacked(context: object, packed: Packed): void {
    packedContexts.set(context, packed);
}
