import type {LlamaContextSequence} from "node-llama-cpp";
import {underItsLock, withSequenceLock} from "../runtime/context-lock.js";
import {addonContextOf} from "../runtime/contexts.js";
import {packedOf} from "./packed.js";
import type {Parking} from "./parking.js";
import {lifeOf} from "./sequence-life.js";

const parkingOf = ({context}: LlamaContextSequence): Parking | null | undefined => packedOf(addonContextOf(context))?.parking;

/** Whether the sequence is parked, or just coming back. */
export function sleeps(sequence: LlamaContextSequence): boolean {
    const parking = parkingOf(sequence), life = lifeOf(sequence);
    return parking != null && life !== undefined && (parking.has(life) || parking.isWaking(life));
}

/**
 * Brings a parked sequence back, and evaluates the tokens whose rows the store lost. For callers that need its rows and can't evaluate.
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
