import {setTimeout as pause} from "node:timers/promises";
import {DeltaStoreError} from "../../errors.js";
import type {RedisConnection} from "./redis-connection.js";
import {evicts, largestOf, lengthsOf, memoryOf, roomFor, type ServerMemory} from "./redis-memory.js";
import type {Step} from "./snapshot-store.js";

export const reactions = ["warn", "error"] as const;

/** What to do about a server that evicts keys. */
export type EvictionReaction = typeof reactions[number];

/** Milliseconds after which a server has freed the buffers of earlier commands. */
const buffersEnd = 250;

const remedy = "Set maxmemory-policy noeviction, or a volatile- one, which drops only keys that expire.";

/** Knows whether a store's server evicts keys, and keeps the store from making it evict. */
export class Eviction {
    readonly #connection: RedisConnection;
    readonly #place: string;
    readonly #reaction: EvictionReaction;
    /** Undefined if the server does not tell. */
    #memory: ServerMemory | undefined;
    #warned = false;
    /** Bytes of the largest object that was read or written. */
    #largest = 0;
    #last: Promise<unknown> = Promise.resolve();

    constructor(connection: RedisConnection, place: string, reaction: EvictionReaction) {
        this.#connection = connection;
        this.#place = place;
        this.#reaction = reaction;
    }

    /** Whether the server evicts, as far as is known. */
    get isEvicting(): boolean {
        return this.#memory !== undefined && evicts(this.#memory);
    }

    /** Whether it may evict. Then a write is looked at again: the server evicts before a command, not after it. */
    get mayEvict(): boolean {
        return this.#memory === undefined || this.isEvicting;
    }

    /**
     * Asks the server, and tells once if it evicts.
     * @throws DeltaStoreError STORE_FAILED if it does and that is an error
     */
    async learn(): Promise<void> {
        this.#memory = memoryOf(String(await this.#connection.send(["INFO", "memory"]).catch((error: unknown) => {
            if (this.#connection.isAnswer(error)) return "";  // hosted servers refuse some commands
            throw error;
        })));
        if (this.#memory === undefined || !evicts(this.#memory)) return;
        const {limit, policy} = this.#memory;
        const what = `evicts keys when its memory is full (maxmemory-policy ${policy}, maxmemory ${limit}), and turns with them. ${remedy}`;
        if (this.#reaction === "error") throw new DeltaStoreError("STORE_FAILED", `The server of the store at ${this.#place} ${what}`);
        if (!this.#warned) process.emitWarning(`llama-deltastore: the server of the store at ${this.#place} ${what}`, {code: "DELTASTORE_STORE_EVICTS"});
        this.#warned = true;
    }

    /** @throws DeltaStoreError STORE_FAILED: the server would have to evict for a step's values */
    async requireRoom(step: Step): Promise<void> {
        const lengths = lengthsOf(step);
        if (lengths.length === 0 || !this.isEvicting) return;
        const room = roomFor(lengths, this.#largest);
        await this.learn();
        if (!this.#has(room)) {
            await pause(buffersEnd);
            await this.learn();
        }
        if (!this.#has(room)) {
            const {limit, used, policy} = this.#memory!;
            throw new DeltaStoreError("STORE_FAILED", `The store at ${this.#place} is full and would evict what it holds (maxmemory-policy ${policy}): its server has ` +
                `${used} of ${limit} bytes in use, and ${room} more are needed. Give it more memory. ${remedy}`);
        }
        this.saw(lengths);
    }

    #has(room: number): boolean {
        return !this.isEvicting || this.#memory!.used + room <= this.#memory!.limit;
    }

    saw(lengths: readonly number[]): void {
        this.#largest = largestOf(lengths, this.#largest);
    }

    /** Runs steps one after the other where the server evicts, since a step under way takes its memory, too. */
    alone<T>(work: () => Promise<T>): Promise<T> {
        if (!this.isEvicting) return work();
        const result = this.#last.then(work);
        this.#last = result.catch(() => undefined);
        return result;
    }
}
