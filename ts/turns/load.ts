import type {DeltaStoreError} from "../errors.js";
import {isLost, type Archive} from "./archive.js";
import type {Books} from "./cold/books.js";
import {attachedEngine, isFrozen} from "./cold/engine.js";
import {thaw} from "./cold/thaw.js";
import {keysOf} from "./known-blocks.js";
import type {TurnEntry, TurnRecord} from "./record.js";
import type {StoredRows} from "./rows.js";

export interface LoadedTurn {
    readonly record: TurnRecord;
    readonly rows: StoredRows;
    /** Why the newest rows of a whole turn are not among the rows. They can be evaluated again. */
    readonly lost: DeltaStoreError | null;
}

/** A turn as it is stored, with its frozen rows thawed. @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN; BINARY_MISSING */
export async function loadTurn(archive: Archive, books: Books, turn: TurnEntry): Promise<LoadedTurn> {
    const record = await archive.record(turn), {head, tokens, adapter = null, shareable, tier: {definition}, frozen} = record;
    const opening = archive.open(record.centres);
    let lost: DeltaStoreError | null = null;
    const loadTail = async (name: string): Promise<Uint8Array | null> => {
        try {
            const [centres, stored] = await Promise.all([opening, archive.open([name])]);
            return (await thaw(books, attachedEngine, record, centres, stored))[0]!;
        } catch (error) {
            if (!isLost(error)) throw error;
            lost = error;
            return null;
        }
    };
    const hasTail = turn.whole && record.tail !== null;
    const [centres, stored, tail] = await Promise.all([opening, archive.open(record.blocks), hasTail ? loadTail(record.tail) : null]);
    const blocks = await thaw(books, attachedEngine, record, centres, stored);
    const cold = frozen === null ? null : {frozen, names: new Set(record.blocks.filter((_, index) => isFrozen(stored[index]!)))};
    const rows: StoredRows = {
        parts: {head, centres, blocks, tail}, tokens, describedAdapters: adapter, shareable, tierDefinition: definition,
        restored: (sequence, identities) => {
            if (adapter !== null) return;  // blocks of version 1 would get other bytes now
            archive.known.remember(sequence, keysOf(identities, record.blocks.length), record.blocks, cold);
        }
    };
    return {record, rows, lost};
}
