import {DeltaStoreError} from "../../errors.js";
import type {ColdCodec} from "../../policy/codecs.js";
import type {ColdStep} from "../../policy/cold.js";
import type {Archive} from "../archive.js";
import {freezeByAge, type Aged} from "./aging.js";
import type {Books} from "./books.js";
import {ColdHolders} from "./cold-holders.js";
import {Cooling, type usualTimes} from "./cooling.js";
import {freezeConversation, type Freezing} from "./freeze.js";

/** Freezes conversations of a store: those that the app names, and those that their age makes due. */
export class ColdTurns {
    readonly #archive: Archive;
    readonly #books: Books;
    readonly #steps: readonly ColdStep[];
    #cooling: Cooling | null = null;
    /** Freezing that is under way. */
    readonly #working = new Set<Promise<unknown>>();
    #closed = false;
    #warned = false;

    /** @param steps empty if age freezes nothing by itself */
    constructor(archive: Archive, books: Books, steps: readonly ColdStep[]) {
        this.#archive = archive;
        this.#books = books;
        this.#steps = steps;
    }

    /** Begins to freeze conversations by age, now and then. */
    begin(times?: typeof usualTimes): void {
        if (this.#steps.length > 0) this.#cooling = new Cooling(() => this.#cool(), times);
    }

    async #cool(): Promise<void> {
        try {
            await this.#during(freezeByAge(this.#archive, this.#books, this.#steps, this.#pace(true)));
        } catch (error) {
            if (this.#closed || this.#warned) return;
            this.#warned = true;
            const {place} = this.#archive.store, {message} = error as Error;
            process.emitWarning(`llama-deltastore can't freeze conversations in ${place}: ${message}`, {code: "DELTASTORE_NOT_FROZEN"});
        }
    }

    async freeze(conversation: string, codec: ColdCodec): Promise<Freezing> {
        const coldHolders = await ColdHolders.of(this.#archive), how = {...this.#pace(false), codec, usedUntil: Infinity, coldHolders};
        return (await this.#during(freezeConversation(this.#archive, this.#books, conversation, how)))!;
    }

    /** @param steps in place of those that the turns were opened with */
    async freezeByAge(steps = this.#steps): Promise<Aged> {
        return await this.#during(freezeByAge(this.#archive, this.#books, steps, this.#pace(false)));
    }

    #pace(background: boolean) {
        return {
            background,
            ensureOpen: () => { if (this.#closed) throw new DeltaStoreError("DISPOSED", "The turns were closed"); }
        };
    }

    async #during<T>(work: Promise<T>): Promise<T> {
        this.#working.add(work);
        try {
            return await work;
        } finally {
            this.#working.delete(work);
        }
    }

    /** Ends what is under way; conversations that are frozen by then stay so. Idempotent. */
    async close(): Promise<void> {
        this.#closed = true;
        this.#cooling?.stop();
        await Promise.allSettled(this.#working);
        this.#books.close();
    }
}
