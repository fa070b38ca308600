import type {Turns} from "./turns.js";

/** Rows in the store that no parked sequence needs any more. What can't be removed now is tried again. */
export class Leftovers {
    readonly #turns: () => Promise<Turns>;
    readonly #names = new Set<string>();

    constructor(turns: () => Promise<Turns>) {
        this.#turns = turns;
    }

    async remove(...names: string[]): Promise<void> {
        for (const name of names) this.#names.add(name);
        try {
            for (const name of this.#names) {
                await (await this.#turns()).remove(name);
                this.#names.delete(name);
            }
        } catch {
            // The next call tells.
        }
    }
}
