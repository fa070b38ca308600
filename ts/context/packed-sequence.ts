import {inspect} from "node:util";
import {LlamaContextSequence} from "node-llama-cpp";
import {invalid} from "../options.js";
import {packedOf, type Packed} from "./packed.js";
import {addonContextOf} from "../runtime/contexts.js";
import {lifeOf, type SequenceLife} from "./sequence-life.js";

export function requireSequence(sequence: unknown): asserts sequence is LlamaContextSequence {
    if (!(sequence instanceof LlamaContextSequence))
        throw invalid(`A LlamaContextSequence is needed; given was ${inspect(sequence, {depth: -1})}`);
}

/**
 * A sequence's life, and the parts of its context's packed cache.
 * @throws DeltaStoreError OPTION_INVALID: the context has the stock cache; DISPOSED: the sequence is
 */
export function packedLife(sequence: LlamaContextSequence): {packed: Packed; life: SequenceLife} {
    const packed = packedOf(addonContextOf(sequence.context)), life = lifeOf(sequence);
    if (packed === undefined || life === undefined)
        throw invalid("The sequence's context has the stock cache; isPacked(context) tells");
    life.ensureOpen();
    return {packed, life};
}
