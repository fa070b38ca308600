import type {DeltaStoreError} from "../errors.js";
import type {TurnEntry} from "./record.js";

/** A turn that a conversation can go back to. */
export type Turn = TurnEntry;

export interface SaveOptions {
    /** Kept with the turn and given back by `restore`: anything that JSON can say. */
    data?: unknown;
}

export interface RestoreOptions {
    /** The id of the turn to go back to; the newest whole one if absent. */
    turn?: string;
}

export interface Restored {
    readonly turn: Turn;
    readonly data: unknown;
    /** Tokens that had to be evaluated again. */
    readonly evaluated: number;
    /** Newer turns that could not be restored, the newest first, and why; and this one, if its newest rows had to be evaluated again. */
    readonly damaged: readonly {readonly turn: string; readonly error: DeltaStoreError}[];
}
