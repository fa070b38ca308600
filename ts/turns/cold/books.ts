import {madeWith} from "../../engine/snapshot-head.js";
import type {NativeBinding} from "../../engine/native.js";
import type {ColdCodec} from "../../policy/codecs.js";
import {unlessLost, type Archive} from "../archive.js";
import type {Pace} from "../pace.js";
import type {Conversation, Frozen, TurnRecord} from "../record.js";
import {bookKey, familyOf, readBook, writeBook} from "./book-entries.js";
import {nativeCodec, ofStored} from "./engine.js";
import {hasRows, packedBlocks, train} from "./training.js";

/** An open book takes tens of megabytes. */
const mostOpen = 2;

/** A book that was learned from fewer rows is learned again once there are twice as many. */
const enoughRows = 4096;

/** What codecs have learned of models: kept in a store, once a model, and open while it is used. */
export class Books {
    readonly #archive: Archive;
    /** The last used one last. */
    readonly #open = new Map<string, Promise<object>>();

    constructor(archive: Archive) {
        this.#archive = archive;
    }

    /**
     * The book that parts were frozen with; null for a codec that has none.
     * @param head of a turn with such parts
     * @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN
     */
    async open(native: NativeBinding, {codec, book}: Frozen, head: Uint8Array): Promise<object | null> {
        if (book === null) return null;
        const key = JSON.stringify([codec, book]), opened = this.#open.get(key) ?? this.#read(native, codec, book, head);
        this.#open.delete(key);
        this.#open.set(key, opened);
        for (const oldest of [...this.#open.keys()].slice(0, -mostOpen)) this.#open.delete(oldest);
        opened.catch(() => this.#open.delete(key));
        return await opened;
    }

    async #read(native: NativeBinding, codec: ColdCodec, book: string, head: Uint8Array): Promise<object> {
        const [bytes] = await this.#archive.open([book]);
        return await ofStored(`The codec's book ${book} can't be opened`, () => native.openBook(nativeCodec(codec), head, bytes!));
    }

    /**
     * Name of the book that rows like a record's are to be frozen with; null for a codec that has none. It is learned if need be.
     * @throws DeltaStoreError CODEC_UNTRAINED
     */
    async choose(native: NativeBinding, codec: ColdCodec, record: TurnRecord, conversation: Conversation, pace: Pace): Promise<string | null> {
        const family = familyOf(codec), archive = this.#archive;
        if (family === null) return null;
        const key = bookKey(archive, family, madeWith(record.head)!), sources = () => packedBlocks(archive, record, conversation);
        for (;;) {
            const before = await readBook(archive, key), {book} = before;
            const isWhole = book !== null && await this.open(native, {codec, book: book.object}, record.head).then(() => true, unlessLost(false));
            if (isWhole && (book.rows >= enoughRows || !await hasRows(sources(), 2 * book.rows))) return book.object;
            const {bytes, rows} = await train(archive, native, codec, record, sources(), pace);
            await writeBook(archive, key, before, bytes, rows);  // if it is refused, somebody else's is there
        }
    }

    close(): void {
        this.#open.clear();
    }
}
