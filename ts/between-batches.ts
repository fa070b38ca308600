interface Waiting {
    work(): Promise<void>;
    reject(error: unknown): void;
}

/**
 * Work on what a context holds. Node-llama-cpp keeps the context's lock as long as any sequence has tokens to evaluate, so this looks for a
 * gap between two batches, too.
 */
export class BetweenBatches {
    readonly #waiting = new Set<Waiting>();
    #lockAsked = false;

    /** @param locked runs its argument under the context's lock */
    async run<R>(locked: (work: () => Promise<void>) => Promise<void>, work: () => Promise<R>): Promise<R> {
        return await new Promise<R>((resolve, reject) => {
            this.#waiting.add({work: async () => await work().then(resolve, reject), reject});
            if (this.#lockAsked) return;
            this.#lockAsked = true;
            locked(async () => {
                this.#lockAsked = false;
                await this.drain();
            }).catch((error: unknown) => {
                this.#lockAsked = false;
                for (const waiting of this.#waiting) waiting.reject(error);
                this.#waiting.clear();
            });
        });
    }

    /** Under the lock, and no batch is computed. */
    async drain(): Promise<void> {
        for (const waiting of [...this.#waiting])
            if (this.#waiting.delete(waiting)) await waiting.work();
    }
}
