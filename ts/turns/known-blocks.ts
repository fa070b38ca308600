import {createHash} from "node:crypto";
import type {LlamaContextSequence} from "node-llama-cpp";

/** Names of a sequence's blocks, from when it was last saved or restored. Known blocks are neither read nor hashed again. */
export class KnownBlocks {
    readonly #names = new WeakMap<LlamaContextSequence, ReadonlyMap<string, string>>();

    /** @param keys of the blocks that have these names */
    remember(sequence: LlamaContextSequence, keys: readonly string[], names: readonly string[]): void {
        this.#names.set(sequence, new Map(names.map((name, index) => [keys[index]!, name])));
    }

    /** A block's name; undefined if it is not known. */
    namesOf(sequence: LlamaContextSequence, keys: readonly string[]): (string | undefined)[] {
        const names = this.#names.get(sequence);
        return keys.map((key) => names?.get(key));
    }
}

/** @param identities of all blocks, one after the other; see `NativeSnapshot` */
export function keysOf(identities: Uint8Array, blocks: number): string[] {
    const each = identities.length / blocks;
    return Array.from({length: blocks}, (_, index) => createHash("sha256").update(identities.subarray(index * each, (index + 1) * each)).digest("base64"));
}
