import type {Token} from "node-llama-cpp";
import type {SequenceLife} from "./sequence-life.js";

/**
 * Sequences of one context whose rows are in a store, until somebody needs them. All methods that say "comeBack" run between two batches.
 */
export interface Parking {
    /** Whether the sequence is parked. */
    has(life: SequenceLife): boolean;
    isWaking(life: SequenceLife): boolean;
    /** While `work` brings a sequence back, its rows are not yet what it stands for. */
    waking<T>(life: SequenceLife, work: () => Promise<T>): Promise<T>;
    /** Waits until the sequence is back. */
    awake(life: SequenceLife): Promise<void>;
    /**
     * Gives a sequence's rows to the store. False if the sequence has too few or the store fails: then they stay.
     * @param between runs its argument between two batches
     * @param urgent somebody waits for the memory
     */
    park(life: SequenceLife, between: <R>(work: () => Promise<R>) => Promise<R>, urgent: boolean): Promise<boolean>;
    /**
     * Reads a parked sequence's rows while batches are computed. The function that it gives does what `comeBackInPart` does, with these rows.
     * Where the store fails, no row comes back, and all tokens are given.
     */
    load(life: SequenceLife): Promise<() => Promise<Token[]>>;
    /**
     * Brings a sequence's rows back, for callers that can't evaluate.
     * @throws DeltaStoreError TURN_DAMAGED: some did not come back, and the sequence holds those before them; POOL_LIMIT_REACHED or OUT_OF_MEMORY:
     *     it stays parked
     */
    comeBack(life: SequenceLife): Promise<void>;
    /**
     * Brings a sequence's rows back if the store has them all. Else it stays parked, and false is given.
     * @throws DeltaStoreError as `comeBack`
     */
    comeBackWhole(life: SequenceLife): Promise<boolean>;
    /**
     * Brings back the rows that the store has. Gives the tokens whose rows it lost: they have to be evaluated again.
     * @throws DeltaStoreError STORE_FAILED, POOL_LIMIT_REACHED or OUT_OF_MEMORY: the sequence stays parked
     */
    comeBackInPart(life: SequenceLife): Promise<Token[]>;
    /** A sequence's rows are about to change. An attempt to park it goes no further. */
    changing(life: SequenceLife): void;
    /** The sequence is emptied, or has other rows. Its stored ones go. */
    forget(life: SequenceLife): void;
    /** The context is disposed. */
    dispose(): void;
}
