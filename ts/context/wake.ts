import type {LlamaContextSequence} from "node-llama-cpp";
import {withSequenceLock} from "../runtime/context-lock.js";
import {packedOf} from "./packed.js";
import {contextInternals} from "../runtime/internals.js";
import {lifeOf} from "./sequence-life.js";
import type {Parking} from "../turns/parking.js";

/** Of node-llama-cpp's evaluations: whoever asks for them has the sequence's lock. */
export const underItsLock = {_skipLock: true} as object;

const parkingOf = ({context}: LlamaContextSequence): Parking | null | undefined => packedOf(contextInternals(context)._ctx)?.parking;

/** Whether it is parked, or just coming back. */
export function sleeps(sequence: LlamaContextSequence): boolean {
    const parking = parkingOf(sequence), life = lifeOf(sequence);
    return parking != null && life !== undefined && (parking.has(life) || parking.isWaking(life));
}

/**
 * Brings a parked sequence back, and evaluates what the store has lost of it, before something is asked of its rows that can't.
 * @param locked whether the caller has the sequence's lock
 * @throws DeltaStoreError STORE_FAILED, POOL_LIMIT_REACHED, OUT_OF_MEMORY: it stays parked or, if the evaluation failed, holds what came back
 */
export async function wake(sequence: LlamaContextSequence, locked = false): Promise<void> {
    if (!sleeps(sequence)) return;
    const parking = parkingOf(sequence)!, life = lifeOf(sequence)!;
    if (!locked) await parking.awake(life);
    if (!parking.has(life)) return;
    const work = () => parking.waking(life, async () => {
        const lost = await life.between(() => parking.comeBackInPart(life));
        if (lost.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(lost, underItsLock);
    });
    await (locked ? work() : withSequenceLock(sequence, work));
}
