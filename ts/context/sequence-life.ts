import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {betweenBatches, type BetweenBatches} from "../runtime/between-batches.js";
import {DeltaStoreError} from "../errors.js";
import {markDisposed, sequenceIdOf} from "../runtime/sequences.js";

/**
 * The time that a sequence has its number. node-llama-cpp gives a number to one sequence after the other. So work that waits before it
 * changes a sequence holds the sequence's life, and asks it in that very step whether the number is still the sequence's.
 *
 * `dispose()` of the sequence closes the life. Nothing new begins then, and requests that wait to be evaluated are dropped. Work that was
 * asked for before is still done. Then the life is over, and the number is free.
 */
export class SequenceLife {
    readonly sequenceId: number;
    /** Weak: a life is remembered longer than its sequence, and must not keep the context. */
    readonly #context: WeakRef<LlamaContext>;
    readonly #sequence: WeakRef<LlamaContextSequence>;
    readonly #between: BetweenBatches;
    #stage: "open" | "closed" | "over" = "open";
    #announceClosing!: () => void;
    #announceEnd!: () => void;
    /** Resolves when the life is closed. */
    readonly closing = new Promise<void>((resolve) => this.#announceClosing = resolve);
    /** Resolves when it is over. */
    readonly ended = new Promise<void>((resolve) => this.#announceEnd = resolve);

    /** @param between the work that waits for the sequence's context */
    constructor(sequence: LlamaContextSequence, between: BetweenBatches) {
        this.sequenceId = sequenceIdOf(sequence);
        this.#between = between;
        this.#context = new WeakRef(sequence.context);
        this.#sequence = new WeakRef(sequence);
    }

    /** Undefined once the sequence is collected as garbage. */
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
        return await betweenBatches(context, this.#between, () => {
            this.ensureNotOver();
            return work();
        });
    }

    /** To be asked between two batches. @throws DeltaStoreError DISPOSED */
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
        const {sequence} = this;
        if (sequence !== undefined) markDisposed(sequence);
        this.#announceEnd();
    }
}

const lives = new WeakMap<LlamaContextSequence, SequenceLife>();

/** A sequence's life; undefined if its context has the stock cache. */
export const lifeOf = (sequence: LlamaContextSequence): SequenceLife | undefined => lives.get(sequence);

/** The lives of one context's sequences. */
export class SequenceLives {
    readonly #between: BetweenBatches;
    readonly #current = new Map<number, SequenceLife>();

    /** @param between the work that waits for the context */
    constructor(between: BetweenBatches) {
        this.#between = between;
    }

    begin(sequence: LlamaContextSequence): void {
        const life = new SequenceLife(sequence, this.#between);
        lives.set(sequence, life);
        this.#current.set(life.sequenceId, life);
    }

    /** Who has this number. Ask under the context's lock, where no disposal can come in between. */
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
