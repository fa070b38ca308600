import {headWithoutRows, madeWith} from "../../engine/snapshot-head.js";
import type {ColdCodec} from "../../policy/codecs.js";
import type {Archive} from "../archive.js";
import {giveWay, type Pace} from "../pace.js";
import type {Conversation, TurnRecord} from "../record.js";
import type {Books} from "./books.js";
import {attachedEngine, isFrozen, nativeCodec, ofStored} from "./engine.js";

/** A turn stays packed if what of it can be frozen would take more than this share of its bytes: it would lose precision for next to nothing. */
const mostLeft = 0.95;

/** Bytes of packed parts that are frozen together. */
const bytesAtOnce = 1 << 20;

/** What frozen parts go by. */
interface Kind {
    readonly head: Uint8Array;
    readonly centres: readonly Uint8Array[];
    readonly book: string | null;
    /** Whether they have rows that were saved last. */
    readonly fine: boolean;
}

/** What of a turn's blocks is known. */
export interface Blocks {
    /** Whether a block, or the tail, stays as it is. */
    stays(part: string): boolean;
    /** Whether it has rows that were saved last. These are read most, and lose least. */
    isFine(block: string): boolean;
}

/** The turns of one conversation, frozen. Each block is frozen once. */
export class FrozenRows {
    readonly #archive: Archive;
    readonly #books: Books;
    readonly #codec: ColdCodec;
    readonly #pace: Pace;
    /** Names of frozen parts, by book and name of the packed one. */
    readonly #frozen = new Map<string, string>();
    /** Bytes at rest of both, by name. */
    readonly #sizes = new Map<string, number>();
    /** Names of objects that were stored. Those that nobody holds in the end can be swept. */
    readonly stored = new Set<string>();
    #bytes = 0;

    constructor(archive: Archive, books: Books, codec: ColdCodec, pace: Pace) {
        this.#archive = archive;
        this.#books = books;
        this.#codec = codec;
        this.#pace = pace;
    }

    /** Forgets parts that are gone, or whose book is, so that they are frozen and stored again. */
    forget(objects: readonly string[]): void {
        const gone = new Set(objects);
        for (const [key, frozen] of this.#frozen) if (gone.has(frozen) || gone.has(key.split(" ")[1]!)) this.#frozen.delete(key);
    }

    /**
     * A turn's record with frozen rows, and the bytes that these added to the store. Null if the turn stays as it is: an earlier version saved it, it has
     * no rows, warm conversations hold them all, or it would be hardly smaller.
     * @param whole whether the turn has its tail
     * @throws DeltaStoreError CODEC_UNTRAINED; TURN_DAMAGED, TURN_FOREIGN; BINARY_MISSING; DISPOSED
     */
    async freeze(record: TurnRecord, whole: boolean, conversation: Conversation, blocks: Blocks): Promise<{record: TurnRecord; bytes: number} | null> {
        if (madeWith(record.head) === null || record.frozen?.codec.name === "tokens") return null;
        if (this.#codec.name === "tokens") return {record: this.#withoutRows(record), bytes: 0};
        const tail = whole ? record.tail : null, native = await attachedEngine();
        const todo = [...record.blocks, ...tail === null ? [] : [tail]].filter((part) => !blocks.stays(part));
        if (todo.length === 0) return null;
        const book = record.frozen === null ? await this.#books.choose(native, this.#codec, record, conversation, this.#pace) : record.frozen.book;
        const kind = {head: record.head, centres: await this.#archive.open(record.centres), book};
        const isFine = (part: string): boolean => part === tail || blocks.isFine(part);
        this.#bytes = 0;
        await this.#freezeAll(todo.filter((part) => !isFine(part)), {...kind, fine: false});
        await this.#freezeAll(todo.filter(isFine), {...kind, fine: true});
        const frozen = (part: string): string => this.#frozen.get(keyOf(book, part))!, nameOf = (part: string): string => blocks.stays(part) ? part : frozen(part);
        if (record.frozen === null && this.#bytesOf(todo.map(frozen)) > mostLeft * this.#bytesOf(todo)) return null;
        const parts = {blocks: record.blocks.map(nameOf), tail: tail === null ? null : nameOf(tail)};
        return {record: {...record, ...parts, frozen: {codec: this.#codec, book}}, bytes: this.#bytes};
    }

    #bytesOf(parts: readonly string[]): number {
        return parts.reduce((sum, part) => sum + (this.#sizes.get(part) ?? 0), 0);
    }

    #withoutRows(record: TurnRecord): TurnRecord {
        return {...record, head: headWithoutRows(record.head), centres: [], blocks: [], tail: null, frozen: {codec: this.#codec, book: null}};
    }

    async #freezeAll(parts: readonly string[], {head, centres, book, fine}: Kind): Promise<void> {
        const names = parts.filter((part) => !this.#frozen.has(keyOf(book, part))), native = await attachedEngine(), codec = nativeCodec(this.#codec);
        let atOnce = 1;
        for (let begin = 0, end; begin < names.length; begin = end) {
            end = Math.min(begin + atOnce, names.length);
            const began = performance.now(), some = names.slice(begin, end), stored = await this.#archive.open(some);
            const packed = [...some.keys()].filter((index) => !isFrozen(stored[index]!)), opened = await this.#books.open(native, {codec: this.#codec, book}, head);
            const parts = packed.map((index) => stored[index]!);
            const frozen = await ofStored("A turn can't be frozen", () => native.freezeParts(codec, opened, head, centres, parts, fine));
            const brought = await this.#archive.bring(frozen, "entropy", this.stored);
            this.#bytes += brought.bytes;
            for (const name of some) this.#frozen.set(keyOf(book, name), name);
            for (const [at, index] of packed.entries()) this.#frozen.set(keyOf(book, some[index]!), brought.names[at]!);
            for (const [name, {bytes}] of await this.#archive.store.stored([...some, ...brought.names])) this.#sizes.set(name, bytes);
            atOnce = Math.max(1, Math.floor(bytesAtOnce / stored[0]!.length));
            await giveWay(this.#pace, began);
        }
    }
}

const keyOf = (book: string | null, part: string): string => `${part} ${book}`;
