import {unlessLost, type Archive} from "../archive.js";
import type {TurnRecord} from "../record.js";
import type {Books} from "./books.js";
import {isFrozen, type Engine} from "./engine.js";
import {thaw} from "./thaw.js";

const partsAtOnce = 8;

/** Thaws turns' frozen parts, each once, to see whether that can be done. */
export class ThawTrial {
    readonly #archive: Archive;
    readonly #books: Books;
    readonly #engine: Engine;
    readonly #tried = new Set<string>();
    /** How many parts were thawed. */
    thawed = 0;
    /** Why none could be; null if there is an engine, or nothing to thaw. */
    reason: string | null = null;

    constructor(archive: Archive, books: Books, engine: Engine) {
        this.#archive = archive;
        this.#books = books;
        this.#engine = engine;
    }

    /** Missing and damaged parts are passed over. @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN: one can't be thawed */
    async thaw(record: TurnRecord, whole: boolean): Promise<void> {
        const parts = [...record.blocks, ...whole && record.tail !== null ? [record.tail] : []].filter((part) => !this.#tried.has(part));
        if (record.frozen === null || parts.length === 0 || this.reason !== null) return;
        for (const part of parts) this.#tried.add(part);
        const native = await this.#engine().catch((error: unknown) => {
            this.reason = (error as Error).message;
        });
        const centres = native === undefined ? null : await this.#archive.open(record.centres).catch(unlessLost(null));
        for (let begin = 0; centres !== null && begin < parts.length; begin += partsAtOnce) {
            const some = await this.#archive.open(parts.slice(begin, begin + partsAtOnce)).catch(unlessLost(null));
            if (some === null) continue;
            await thaw(this.#books, this.#engine, record, centres, some);
            this.thawed += some.filter(isFrozen).length;
        }
    }
}
