/** Random numbers: the same seed gives the same ones (mulberry32). */
export class Random {
    #state;

    /** @param {number} seed */
    constructor(seed) {
        this.#state = seed >>> 0;
    }

    /** From 0 up to 1. */
    next() {
        this.#state = (this.#state + 0x6d2b79f5) >>> 0;
        let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
        mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    }

    /**
     * A whole number, both ends included.
     * @param {number} least
     * @param {number} most
     */
    integer(least, most) {
        return least + Math.floor(this.next() * (most - least + 1));
    }

    /**
     * @template T
     * @param {readonly T[]} from
     */
    choice(from) {
        return /** @type {T} */ (from[this.integer(0, from.length - 1)]);
    }
}
