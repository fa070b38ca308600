/**
 * Work on what a context holds. Node-llama-cpp keeps the context's lock as long as any sequence has tokens to evaluate, so this looks for a
 * gap between two batches, too.
 */
export class BetweenBatches {
    readonly #waiting = new Set<() => Promise<void>>();

    /** @param locked runs its argument under the context's lock */
    async run<R>(locked: (work: () => Promise<void>) => Promise<void>, work: () => Promise<R>): Promise<R> {
        return await new Promise<R>((resolve, reject) => {
            const once = async () => {
                if (this.#waiting.delete(once)) await work().then(resolve, reject);
            };
            this.#waiting.add(once);
            locked(once).catch((error: unknown) => {
                this.#waiting.delete(once);
                reject(error as Error);
            });
        });
    }

    /** After a batch, under the lock that it ran under. */
    async afterBatch(): Promise<void> {
        for (const once of [...this.#waiting]) await once();
    }
}
