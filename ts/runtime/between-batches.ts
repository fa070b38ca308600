import type {LlamaContext} from "node-llama-cpp";
import {withContextLock} from "./context-lock.js";
import {DeltaStoreError} from "../errors.js";
import {contextInternals} from "./internals.js";

interface Waiting {
    work(): Promise<void>;
    reject(error: unknown): void;
}

/**
 * Work that waits for a context to be between two batches. node-llama-cpp keeps the context's lock as long as any sequence has
 * tokens to evaluate. So the work is done under the lock, or between two batches of whoever has it: whichever comes first.
 */
export class BetweenBatches {
    readonly #waiting = new Set<Waiting>();
    #lockAsked = false;

    /** @param locked runs its argument under the context's lock */
    async run<R>(locked: (work: () => Promise<void>) => Promise<void>, work: () => Promise<R>): Promise<R> {
        return await new Promise<R>((resolve, reject) => {
            this.#waiting.add({work: () => settle(work).then(resolve, reject), reject});
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

    /** Does what waits. The caller has the lock, and no batch is computed. */
    async drain(): Promise<void> {
        for (const waiting of [...this.#waiting])
            if (this.#waiting.delete(waiting)) await waiting.work();
    }
}

/** Makes an error that is thrown at once a rejection. */
async function settle<R>(work: () => Promise<R>): Promise<R> {
    return await work();
}

/**
 * Runs `work` while nobody else changes, evaluates or disposes the context. Work that was asked for before the context's disposal is
 * done before it.
 * @param between the work that waits for this context
 * @throws DeltaStoreError DISPOSED: the context is
 */
export async function betweenBatches<T>(context: LlamaContext, between: BetweenBatches, work: () => Promise<T>): Promise<T> {
    const alive = stayAlive(context);
    try {
        return await between.run((once) => withContextLock(context, once), work);
    } finally {
        alive.dispose();
    }
}

function stayAlive(context: LlamaContext): {dispose(): void} {
    const disposed = (cause?: unknown) => new DeltaStoreError("DISPOSED", "The context is disposed", {cause});
    if (context.disposed) throw disposed();
    try {
        return contextInternals(context)._backendContextDisposeGuard.createPreventDisposalHandle();
    } catch (error) {
        throw disposed(error);
    }
}
