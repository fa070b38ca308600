import type {DeltaStoreError} from "../errors.js";
import type {CodecName, CodecOptions} from "../policy/codecs.js";
import type {TurnEntry} from "./record.js";

/** A turn that a conversation can go back to. */
export type Turn = TurnEntry;

export interface SaveOptions {
    /** Anything that JSON can say. It is kept with the turn, and `restore` gives it back. */
    data?: unknown;
}

export interface RestoreOptions {
    /** The id of the turn to go back to. If absent, it is the newest turn that is whole. */
    turn?: string;
}

/** Options that are left out are as the codec has them by default. */
export interface FreezeOptions extends CodecOptions {
    /** `transform`, `vq`, `pq` and `channel` lose a little. `tokens` keeps no rows: restoring evaluates the tokens again. */
    readonly codec: CodecName;
}

export interface Restored {
    readonly turn: Turn;
    readonly data: unknown;
    /** How the turn was stored: as it was saved (`packed`), or what its rows, at least in part, were frozen with. */
    readonly codec: CodecName | "packed";
    /** Tokens that had to be evaluated again. */
    readonly evaluated: number;
    /** Newer turns that could not be restored, and why, the newest first. This turn is among them if its newest rows were lost and had to be evaluated again. */
    readonly damaged: readonly {readonly turn: string; readonly error: DeltaStoreError}[];
}
