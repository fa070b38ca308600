import type {LlamaContextSequence} from "node-llama-cpp";
import {withSequenceLock} from "../context-lock.js";
import {packedOf} from "../packed-context.js";
import {betweenBatches} from "../patch-runtime.js";
import {contextInternals, sequenceInternals} from "../runtime-internals.js";

/** Of node-llama-cpp's evaluations: whoever asks for them has the sequence's lock. */
export const underItsLock = {_skipLock: true} as object;

/**
 * Brings a parked sequence back, and evaluates what the store has lost of it, before something is asked of its rows that can't.
 * @param locked whether the caller has the sequence's lock
 * @throws DeltaStoreError STORE_FAILED, POOL_LIMIT_REACHED, OUT_OF_MEMORY: it stays parked or, if the evaluation failed, holds what came back
 */
export async function wake(sequence: LlamaContextSequence, locked = false): Promise<void> {
    const {context} = sequence, parking = packedOf(contextInternals(context)._ctx)?.parking, {_sequenceId: sequenceId} = sequenceInternals(sequence);
    if (!locked) await parking?.awake(sequenceId);
    if (!parking?.has(sequenceId)) return;
    const work = () => parking.waking(sequenceId, async () => {
        const lost = await betweenBatches(context, () => parking.comeBackInPart(sequenceId));
        if (lost.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(lost, underItsLock);
    });
    await (locked ? work() : withSequenceLock(sequence, work));
}
