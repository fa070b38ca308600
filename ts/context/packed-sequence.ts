import {inspect} from "node:util";
import {LlamaContextSequence} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import {packedOf, type Packed} from "./packed.js";
import {contextInternals} from "../runtime/internals.js";
import {lifeOf, type SequenceLife} from "./sequence-life.js";

export function requireSequence(sequence: unknown): asserts sequence is LlamaContextSequence {
    if (!(sequence instanceof LlamaContextSequence))
        throw new DeltaStoreError("OPTION_INVALID", `A LlamaContextSequence is needed; given was ${inspect(sequence, {depth: -1})}`);
}

/**
 * A sequence's life, and what its context has for its packed cache.
 * @throws DeltaStoreError OPTION_INVALID: the context has the stock cache; DISPOSED: the sequence is
 */
export function packedLife(sequence: LlamaContextSequence): {packed: Packed; life: SequenceLife} {
    const packed = packedOf(contextInternals(sequence.context)._ctx), life = lifeOf(sequence);
    if (packed === undefined || life === undefined)
        throw new DeltaStoreError("OPTION_INVALID", "The sequence's context has the stock cache; isPacked(context) tells");
    life.ensureOpen();
    return {packed, life};
}
