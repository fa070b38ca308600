import type {TurnRecord} from "../record.js";
import type {Books} from "./books.js";
import {isFrozen, nativeCodec, ofStored, type Engine} from "./engine.js";

/** Parts of one call, and calls at a time: each has a thread of its own. */
const partsAtOnce = 4, callsAtOnce = 2;

/**
 * A turn's blocks, or its tail, as `restoreSnapshot` takes them.
 * @param parts as they are stored
 * @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN, BINARY_MISSING
 */
export async function thaw(books: Books, engine: Engine, {head, frozen}: TurnRecord, centres: readonly Uint8Array[], parts: readonly Uint8Array[]):
    Promise<Uint8Array[]> {
    const thawed = [...parts], cold = [...parts.keys()].filter((index) => isFrozen(parts[index]!));
    if (frozen === null || cold.length === 0) return thawed;
    const codec = nativeCodec(frozen.codec), native = await engine(), book = await books.open(native, frozen, head);
    let next = 0;
    const work = async (): Promise<void> => {
        while (next < cold.length) {
            const piece = cold.slice(next, next += partsAtOnce), stored = piece.map((index) => parts[index]!);
            const some = await ofStored("A frozen part can't be thawed", () => native.thawParts(codec, book, head, centres, stored));
            for (const [at, index] of piece.entries()) thawed[index] = some[at]!;
        }
    };
    await Promise.all(Array.from({length: callsAtOnce}, work));
    return thawed;
}
