import {inspect} from "node:util";
import {LlamaContextSequence} from "node-llama-cpp";
import {DeltaStoreError} from "./errors.js";
import {goneSince} from "./evaluation.js";
import {packedOf, type Packed} from "./packed-context.js";
import {contextInternals, sequenceInternals} from "./runtime-internals.js";

export function requireSequence(sequence: unknown): asserts sequence is LlamaContextSequence {
    if (!(sequence instanceof LlamaContextSequence))
        throw new DeltaStoreError("OPTION_INVALID", `A LlamaContextSequence is needed; given was ${inspect(sequence, {depth: -1})}`);
}

/** Throws if one of the sequences goes, or went since. */
export function aliveness(packed: Packed, ...sequences: LlamaContextSequence[]): () => void {
    const gone = sequences.map((sequence) => goneSince(sequence.context, packed, sequenceInternals(sequence)._sequenceId));
    return () => {
        if (sequences.some(({disposed}) => disposed) || gone.some((one) => one())) throw new DeltaStoreError("DISPOSED", "The sequence is disposed");
    };
}

/** What a sequence's context has for its packed cache. */
export function packedWith(sequence: LlamaContextSequence): Packed {
    const packed = packedOf(contextInternals(sequence.context)._ctx);
    if (packed === undefined) throw new DeltaStoreError("OPTION_INVALID", "The sequence's context has the stock cache; isPacked(context) tells");
    return packed;
}
