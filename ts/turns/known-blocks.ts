import {createHash} from "node:crypto";
import type {LlamaContextSequence} from "node-llama-cpp";

/** Each block's, one behind the other; see `NativeSnapshot`. */
export type Identities = Uint8Array;

/** What the blocks of a sequence are called, as of when it was last saved or restored: these need not be read and hashed again. */
export class KnownBlocks {
    readonly #names = new WeakMap<LlamaContextSequence, ReadonlyMap<string, string>>();

    remember(sequence: LlamaContextSequence, identities: Identities, names: readonly string[]): void {
        const keys = keysOf(identities, names.length);
        this.#names.set(sequence, new Map(names.map((name, index) => [keys[index]!, name])));
    }

    /** Undefined where it is not known. */
    namesOf(sequence: LlamaContextSequence, identities: Identities, blocks: number): (string | undefined)[] {
        const names = this.#names.get(sequence);
        return keysOf(identities, blocks).map((key) => names?.get(key));
    }
}

function keysOf(identities: Identities, blocks: number): string[] {
    const each = identities.length / blocks;
    return Array.from({length: blocks}, (_, index) => createHash("sha256").update(identities.subarray(index * each, (index + 1) * each)).digest("base64"));
}
