import type {Turns} from "./turns.js";

/** Rows in the store that no parked sequence needs any more. What can't be removed now is tried again with the next call. */
export class Leftovers {
    readonly #turns: () => Promise<Turns>;
    readonly #names = new Set<string>();
    #removing = false;

    constructor(turns: () => Promise<Turns>) {
        this.#turns = turns;
    }

    async remove(...names: string[]): Promise<void> {
        for (const name of names) this.#names.add(name);
        if (this.#removing) return;  // those that come meanwhile are taken, too
        this.#removing = true;
        for (const name of this.#names) {
            try {
                await (await this.#turns()).remove(name);
                this.#names.delete(name);
            } catch {
                // Stays among the names.
            }
        }
        this.#removing = false;
    }
}
