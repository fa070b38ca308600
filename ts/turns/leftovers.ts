/** What removing asks of `Turns`. */
export interface Removing {
    remove(name: string): Promise<boolean>;
    sweep(objects: Iterable<string>): Promise<void>;
}

/** What parking left in the store and nobody needs any more. What can't be removed now is tried again with the next call. */
export class Leftovers {
    readonly #turns: () => Promise<Removing>;
    /** The names of parked rows. */
    readonly #names = new Set<string>();
    /** The names of objects that perhaps nobody holds. */
    readonly #objects = new Set<string>();
    #removing = false;
    #asked = false;

    constructor(turns: () => Promise<Removing>) {
        this.#turns = turns;
    }

    /** Removes parked rows. */
    async remove(...names: string[]): Promise<void> {
        for (const name of names) this.#names.add(name);
        await this.#removeAll();
    }

    /** Removes those of the objects that nobody holds. */
    async sweep(objects: Iterable<string>): Promise<void> {
        for (const object of objects) this.#objects.add(object);
        await this.#removeAll();
    }

    async #removeAll(): Promise<void> {
        this.#asked = this.#names.size + this.#objects.size > 0;
        if (this.#removing) return;  // the run under way takes these, too
        this.#removing = true;
        try {
            while (this.#asked) {
                this.#asked = false;
                const turns = await this.#turns(), objects = [...this.#objects];
                for (const name of this.#names) if (await succeeds(turns.remove(name))) this.#names.delete(name);
                if (objects.length > 0 && await succeeds(turns.sweep(objects))) for (const object of objects) this.#objects.delete(object);
            }
        } catch {
            // The store can't be opened: all stays.
        } finally {
            this.#removing = false;
        }
    }
}

const succeeds = (work: Promise<unknown>): Promise<boolean> => work.then(() => true, () => false);
