import {Problem} from "./problem.js";

/**
 * @typedef {object} Holder who has a sequence, or had one
 * @property {() => Promise<void>} leave gives the sequence up
 */

/** Lends a fixed number of sequences. A holder keeps its sequence until somebody else waits for one. */
export class Seats {
    #free;
    #bound;
    /** Holders that don't use their sequence, the longest idle first. @type {Set<Holder>} */
    #idle = new Set();
    /** Who waits longest first. @type {{resolve: () => void, reject: (error: unknown) => void}[]} */
    #waiting = [];
    #closed = false;

    /**
     * @param {number} count
     * @param {number} bound how many may wait
     */
    constructor(count, bound) {
        this.#free = count;
        this.#bound = bound;
    }

    get waiting() {
        return this.#waiting.length;
    }

    /**
     * Resolves once the holder may have a sequence, or still has the one that it had.
     * @param {Holder} holder
     * @param {AbortSignal} signal
     */
    async take(holder, signal) {
        if (this.#closed) throw closing();
        if (this.#idle.delete(holder)) return;
        if (this.#free > 0) {
            this.#free--;
            return;
        }
        if (await this.#displaceIdlest()) return;
        if (this.#waiting.length >= this.#bound)
            throw new Problem(503, "QUEUE_FULL", `${this.#bound} requests are waiting already`);
        await this.#wait(signal);
    }

    /**
     * The holder keeps its sequence, unless somebody waits for one.
     * @param {Holder} holder
     */
    giveBack(holder) {
        if (this.#waiting.length === 0) this.#idle.add(holder);
        else this.giveUp(holder);
    }

    /** @param {Holder} holder */
    giveUp(holder) {
        void holder.leave().then(() => this.#passOn());
    }

    /** Makes the longest idle holder leave, so that the cache has room for others. False if nobody is idle. */
    async makeRoom() {
        if (!await this.#displaceIdlest()) return false;
        this.#passOn();
        return true;
    }

    /** From now on nobody gets a sequence. */
    close() {
        this.#closed = true;
        for (const {reject} of this.#waiting.splice(0)) reject(closing());
    }

    /** Gives a sequence to who waits longest, if anybody does. */
    #passOn() {
        const next = this.#waiting.shift();
        if (next === undefined) this.#free++;
        else next.resolve();
    }

    async #displaceIdlest() {
        const [idlest] = this.#idle;
        if (idlest === undefined) return false;
        this.#idle.delete(idlest);
        await idlest.leave();
        return true;
    }

    /** @param {AbortSignal} signal */
    async #wait(signal) {
        signal.throwIfAborted();
        /** @type {() => void} */
        let onAbort = () => undefined;
        await new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
            const place = {resolve, reject};
            this.#waiting.push(place);
            onAbort = () => {
                const index = this.#waiting.indexOf(place);
                if (index < 0) return;  // it is being given a sequence
                this.#waiting.splice(index, 1);
                reject(signal.reason);
            };
            signal.addEventListener("abort", onAbort);
        }).finally(() => signal.removeEventListener("abort", onAbort));
    }
}

export const closing = () => new Problem(503, "SHUTTING_DOWN", "The server is shutting down");
