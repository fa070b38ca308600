/** Normally distributed numbers, the same for the same seed. */
export class Gaussian {
    #state: number;

    constructor(seed: number) {
        this.#state = seed >>> 0;
    }

    /** In [0, 1): a Weyl sequence through the 16-15-15 integer hash of github.com/skeeto/hash-prospector. */
    uniform(): number {
        this.#state = (this.#state + 0x9e3779b9) >>> 0;
        let mixed = this.#state;
        mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
        mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);

        return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
    }

    integer(below: number): number {
        return Math.floor(this.uniform() * below);
    }

    fill(length: number, deviation: number, mean = 0): Float32Array {
        const values = new Float32Array(length);
        for (let i = 0; i < length; i += 2) {
            const radius = Math.sqrt(-2 * Math.log(1 - this.uniform())) * deviation;
            const angle = 2 * Math.PI * this.uniform();
            values[i] = mean + radius * Math.cos(angle);
            if (i + 1 < length)
                values[i + 1] = mean + radius * Math.sin(angle);
        }

        return values;
    }
}
