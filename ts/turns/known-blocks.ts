import {createHash} from "node:crypto";
import type {LlamaContextSequence} from "node-llama-cpp";
import type {Frozen} from "./record.js";

/** Objects of a turn that are frozen, and how. */
export interface FrozenBlocks {
    readonly frozen: Frozen;
    readonly names: ReadonlySet<string>;
}

interface Known {
    readonly names: ReadonlyMap<string, string>;
    readonly cold: FrozenBlocks | null;
}

/** Names of a sequence's blocks, from when it was last saved or restored. Known blocks are neither read nor hashed again. */
export class KnownBlocks {
    readonly #known = new WeakMap<LlamaContextSequence, Known>();

    /**
     * @param keys of the blocks that have these names
     * @param cold those of the names that are frozen blocks; null if none is
     */
    remember(sequence: LlamaContextSequence, keys: readonly string[], names: readonly string[], cold: FrozenBlocks | null): void {
        this.#known.set(sequence, {names: new Map(names.map((name, index) => [keys[index]!, name])), cold});
    }

    /** A block's name; undefined if it is not known. */
    namesOf(sequence: LlamaContextSequence, keys: readonly string[]): (string | undefined)[] {
        const names = this.#known.get(sequence)?.names;
        return keys.map((key) => names?.get(key));
    }

    /** Which of the names are frozen blocks. Thawing gives the same bytes each time, so these stand for the rows that the sequence has. */
    frozenOf(sequence: LlamaContextSequence): FrozenBlocks | null {
        return this.#known.get(sequence)?.cold ?? null;
    }
}

/** @param identities of all blocks, one after the other; see `NativeSnapshot` */
export function keysOf(identities: Uint8Array, blocks: number): string[] {
    const each = identities.length / blocks;
    return Array.from({length: blocks}, (_, index) => createHash("sha256").update(identities.subarray(index * each, (index + 1) * each)).digest("base64"));
}
