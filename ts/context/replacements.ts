import type {LlamaContextSequence} from "node-llama-cpp";

/** For each sequence, how often other tokens took the place of its own. */
const replacements = new WeakMap<LlamaContextSequence, number>();

export const replacementsOf = (sequence: LlamaContextSequence): number => replacements.get(sequence) ?? 0;

/** The sequence holds other tokens now. Its evaluations under way must end: what they go on with does not belong behind these. */
export function endEvaluations(sequence: LlamaContextSequence): void {
    replacements.set(sequence, replacementsOf(sequence) + 1);
}
