import type {ColdCodec} from "../../policy/codecs.js";
import {unlessLost, type Archive} from "../archive.js";
import {decodeBook, encodeBook, type Book} from "../record.js";
import type {Refusal} from "../stores/snapshot-store.js";

const prefix = "book:";

export interface BookEntry {
    readonly key: string;
    readonly raw: Uint8Array;
    readonly book: Book;
}

/** What books of a codec are learned for: those with other thresholds or ratios have the same book. Null for codecs without. */
export function familyOf({name, size, parts}: ColdCodec): string | null {
    return name === "transform" ? name : name === "vq" ? `${name} ${size}` : name === "pq" ? `${name} ${parts}` : null;
}

/** @param made what the rows were made with */
export function bookKey({seal}: Archive, family: string, made: Uint8Array): string {
    return prefix + seal.nameOf(Buffer.concat([Buffer.from(`${family}\0`), made]));
}

/** All books of a store. @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN, STORE_KEY_WRONG unless `unreadable` takes them */
export async function* booksOf({store, seal}: Archive, unreadable?: (error: Error) => void): AsyncIterable<BookEntry> {
    for await (const key of store.keys(prefix)) {
        const raw = await store.get(key);
        if (raw === undefined) continue;
        try {
            yield {key, raw, book: decodeBook(await seal.openEntry(key, raw))};
        } catch (error) {
            if (unreadable === undefined) throw error;
            unreadable(error as Error);
        }
    }
}

/** What stands for a book. */
export interface BookBefore {
    /** Null if nothing does. */
    readonly raw: Uint8Array | null;
    /** Null if it can't be read, too. */
    readonly book: Book | null;
}

export async function readBook({store, seal}: Archive, key: string): Promise<BookBefore> {
    const raw = await store.get(key) ?? null;
    return {raw, book: raw === null ? null : await seal.openEntry(key, raw).then(decodeBook).catch(unlessLost(null))};
}

/** Stores a book in place of the one that was read. Refused if somebody else did so meanwhile. */
export async function writeBook({store, seal}: Archive, key: string, before: BookBefore, bytes: Uint8Array, rows: number): Promise<Refusal | null> {
    const object = await seal.nameOfObject(bytes), stored = [[object, await seal.sealObject(object, bytes, "none")]] as const, old = before.book?.object;
    return await store.step({
        expect: [[key, before.raw]], put: [[key, await seal.sealEntry(key, encodeBook({object, rows}))]],
        ...old === object ? {replace: stored} : {objects: stored}, retain: [object], release: old === undefined ? [] : [old]
    });
}

/** Drops books that no turn holds. */
export async function dropUnusedBooks(archive: Archive): Promise<void> {
    const entries = new Map<string, BookEntry>();
    for await (const entry of booksOf(archive, () => undefined)) entries.set(entry.book.object, entry);
    for (const [object, {holders}] of await archive.store.stored([...entries.keys()])) {
        const {key, raw} = entries.get(object)!;
        if (holders === 1) await archive.store.step({expect: [[key, raw]], delete: [key], release: [object]});
    }
}
