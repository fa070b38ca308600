import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Policy} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import type {Origin} from "./origin.js";
import type {Parking} from "./parking.js";
import type {PoolPressure} from "./pool-pressure.js";
import type {PrefixSharing} from "./prefix-sharing.js";
import type {SequenceTiers} from "./sequence-tiers.js";

/** What parking asks of the context's other parts. */
export interface ParkingParts {
    readonly native: NativeBinding;
    readonly origin: Origin;
    readonly tiers: SequenceTiers;
    readonly pressure: PoolPressure;
    /** Null if the policy turns automatic sharing off. */
    readonly sharing: PrefixSharing | null;
    emit(event: CacheEvent): void;
}

/** What a packed context asks of the store that it is created for. */
export interface ContextOwner {
    readonly policy: Policy;
    /** Tells the app. */
    emit(context: AddonContext, event: CacheEvent): void;
    /**
     * Whether the stock cache is to serve after this error.
     * @param chosen whether the app asked for what only that cache has, and for no tier
     */
    fallsBackToStock(error: unknown, chosen: boolean): boolean;
    /** @param seconds without an evaluation until a sequence is parked */
    newParking(context: AddonContext, seconds: number, parts: ParkingParts): Parking;
}
