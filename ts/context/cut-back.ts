import type {AddonContext} from "../runtime/addon.js";
import {becomeEmpty, pruneCheckpoints} from "../runtime/sequences.js";
import type {SequenceLife} from "./sequence-life.js";

/**
 * Drops the rows behind a sequence's first `length` tokens, between two batches. Windows and recurrent states may be unable to go back: then the sequence
 * is empty.
 */
export function cutBack(context: AddonContext, life: SequenceLife, length: number): void {
    const {sequenceId, sequence} = life;
    if (context.removeTokenCellsFromSequence(sequenceId, length, -1)) {
        if (sequence !== undefined) pruneCheckpoints(sequence, length);
        return;
    }
    empty(context, life);
}

/** The sequence loses what is left of its rows, and its tokens. Between two batches. */
export function empty(context: AddonContext, {sequenceId, sequence}: SequenceLife): void {
    context.disposeSequence(sequenceId);
    if (sequence !== undefined) becomeEmpty(sequence);
}
