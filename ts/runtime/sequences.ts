import type {LlamaContextSequence} from "node-llama-cpp";
import {sequenceInternals} from "./internals.js";

export const sequenceIdOf = (sequence: LlamaContextSequence): number => sequenceInternals(sequence)._sequenceId;

/** The sequence's tokens. Token predictions that were evaluated ahead are among them. */
export const heldTokensOf = (sequence: LlamaContextSequence): readonly number[] => sequenceInternals(sequence)._contextTokens;

/** Says what tokens a sequence holds. The rows are the caller's to change. */
export function setHeldTokens(sequence: LlamaContextSequence, tokens: ArrayLike<number>): void {
    const internals = sequenceInternals(sequence);
    internals._contextTokens = Array.from(tokens);
    internals._nextTokenIndex = tokens.length;
}

/** None of the sequence's tokens is a prediction any more. */
export function forgetPredictions(sequence: LlamaContextSequence): void {
    sequenceInternals(sequence)._loadedTokenPredictions = [];
}

/** The sequence can go back to no earlier state any more. */
export function forgetCheckpoints(sequence: LlamaContextSequence): void {
    sequenceInternals(sequence)._checkpoints.clearAllCheckpoints();
}

/** The sequence can go back to states of its first `length` tokens only. */
export function pruneCheckpoints(sequence: LlamaContextSequence, length: number): void {
    sequenceInternals(sequence)._checkpoints.pruneFromEndToIndex(length - 1);
}

/**
 * The target can go back to the source's states of its first `length` tokens. Before node-llama-cpp 3.22 a state belongs to one sequence: then it can
 * go back to none.
 */
export function copyCheckpoints(source: LlamaContextSequence, target: LlamaContextSequence, length: number): void {
    const checkpoints = sequenceInternals(target)._checkpoints;
    if (checkpoints.cloneCheckpointsStateFrom === undefined) return forgetCheckpoints(target);
    checkpoints.cloneCheckpointsStateFrom(sequenceInternals(source)._checkpoints);
    pruneCheckpoints(target, length);
}

/** The sequence has no rows any more. */
export function becomeEmpty(sequence: LlamaContextSequence): void {
    setHeldTokens(sequence, []);
    forgetPredictions(sequence);
    forgetCheckpoints(sequence);
}

/** node-llama-cpp's own methods ask for this, and its `dispose` sets it some time later. */
export function markDisposed(sequence: LlamaContextSequence): void {
    sequenceInternals(sequence)._disposed = true;
}
