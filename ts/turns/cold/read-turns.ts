import {unlessLost, type Archive} from "../archive.js";
import {objectsOf, recordNameOf, type Conversation, type TurnEntry, type TurnRecord} from "../record.js";
import type {Holding} from "../stores/snapshot-store.js";

/** A turn as it stands in its conversation, and its record; null if that is lost. */
export interface ReadTurn {
    readonly turn: TurnEntry;
    readonly record: TurnRecord | null;
}

export async function readTurns(archive: Archive, {turns}: Conversation): Promise<ReadTurn[]> {
    const read: ReadTurn[] = [];
    for (const turn of turns) read.push({turn, record: await archive.record(turn).catch(unlessLost(null))});
    return read;
}

export const heldByRead = ({turn, record}: ReadTurn): string[] =>
    record === null ? [recordNameOf(turn)] : objectsOf(recordNameOf(turn), record, turn.whole);

/** Blocks, and the tail that the turn holds. */
export const partsOf = ({turn, record}: ReadTurn): string[] =>
    record === null ? [] : [...record.blocks, ...turn.whole && record.tail !== null ? [record.tail] : []];

/** Bytes of what turns hold, but for what codecs have learned of a model. */
export function bytesOf(turns: readonly ReadTurn[], stored: ReadonlyMap<string, Holding>): number {
    const books = new Set(turns.map(({record}) => record?.frozen?.book)), held = new Set(turns.flatMap(heldByRead));
    return [...held].reduce((sum, name) => sum + (books.has(name) ? 0 : stored.get(name)?.bytes ?? 0), 0);
}
