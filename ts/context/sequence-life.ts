import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {betweenBatches} from "../runtime/between-batches.js";
import {DeltaStoreError} from "../errors.js";
import {sequenceInternals} from "../runtime/internals.js";

/**
 * A sequence's time with its number, which node-llama-cpp gives to sequence after sequence. Whatever waits and then does something to a
 * sequence presents its life, and learns in that step whether the number is still its own.
 *
 * `dispose()` of the sequence closes its life: nothing new begins, and what waits to be evaluated is dropped. What was asked for before is done
 * first. Then the life is over: the number is free.
 */
export class SequenceLife {
    readonly sequenceId: number;
    /** Lives are remembered longer than what they are of: a context that nobody has any more must be collected. */
    readonly #context: WeakRef<LlamaContext>;
    readonly #sequence: WeakRef<LlamaContextSequence>;
    #stage: "open" | "closed" | "over" = "open";
    #announceClosing!: () => void;
    #announceEnd!: () => void;
    /** Resolves when the life is closed. */
    readonly closing = new Promise<void>((resolve) => this.#announceClosing = resolve);
    /** Resolves when it is over. */
    readonly ended = new Promise<void>((resolve) => this.#announceEnd = resolve);

    constructor(sequence: LlamaContextSequence) {
        this.sequenceId = sequenceInternals(sequence)._sequenceId;
        this.#context = new WeakRef(sequence.context);
        this.#sequence = new WeakRef(sequence);
    }

    /** Undefined once it is collected. */
    get sequence(): LlamaContextSequence | undefined {
        return this.#sequence.deref();
    }

    get isOpen(): boolean {
        return this.#stage === "open";
    }

    /** @throws DeltaStoreError DISPOSED */
    ensureOpen(): void {
        if (!this.isOpen) throw disposed();
    }

    /**
     * Runs `work` between two batches, while the number is the sequence's.
     * @throws DeltaStoreError DISPOSED: the sequence or its context is
     */
    async between<R>(work: () => Promise<R>): Promise<R> {
        const context = this.#context.deref();
        this.ensureOpen();
        if (context === undefined) throw disposed();
        return await betweenBatches(context, () => {
            this.ensureNotOver();
            return work();
        });
    }

    /** Between two batches. @throws DeltaStoreError DISPOSED */
    ensureNotOver(): void {
        if (this.#stage === "over") throw disposed();
    }

    close(): void {
        if (this.isOpen) this.#stage = "closed";
        this.#announceClosing();
    }

    /** The number is given back. */
    end(): void {
        this.close();
        this.#stage = "over";
        const sequence = this.sequence;
        // Node-llama-cpp's own methods ask for this, and its `dispose` sets it some time later.
        if (sequence !== undefined) sequenceInternals(sequence)._disposed = true;
        this.#announceEnd();
    }
}

const lives = new WeakMap<LlamaContextSequence, SequenceLife>();

/** Undefined if the sequence's context has the stock cache. */
export const lifeOf = (sequence: LlamaContextSequence): SequenceLife | undefined => lives.get(sequence);

/** Those of one context's sequences. */
export class SequenceLives {
    readonly #current = new Map<number, SequenceLife>();

    begin(sequence: LlamaContextSequence): void {
        const life = new SequenceLife(sequence);
        lives.set(sequence, life);
        this.#current.set(life.sequenceId, life);
    }

    /** Whose number it is. Only for a step that no disposal can come before: under the context's lock. */
    at(sequenceId: number): SequenceLife | undefined {
        return this.#current.get(sequenceId);
    }

    end(sequenceId: number): void {
        this.#current.get(sequenceId)?.end();
        this.#current.delete(sequenceId);
    }
}

function disposed(): DeltaStoreError {
    return new DeltaStoreError("DISPOSED", "The sequence is disposed");
}
