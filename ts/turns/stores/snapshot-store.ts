/** Why a step was refused. Then nothing was done. */
export type Refusal = {readonly refused: "changed"; readonly key: string} | {readonly refused: "missing"; readonly objects: readonly string[]};

/** Changes that are made together or not at all, also among several processes. */
export interface Step {
    /** Entries that must have exactly this value; null for none. */
    readonly expect?: readonly (readonly [key: string, value: Uint8Array | null])[];
    readonly put?: readonly (readonly [key: string, value: Uint8Array])[];
    readonly delete?: readonly string[];
    /** Objects to store. One whose name is there already stays as it is. */
    readonly objects?: readonly (readonly [name: string, value: Uint8Array])[];
    /** New bytes for stored names; their holders stay. Names that are not stored are passed over. */
    readonly replace?: readonly (readonly [name: string, value: Uint8Array])[];
    /** Objects that get one more holder, once for each time they stand here; each must be stored, or be among `objects`. */
    readonly retain?: readonly string[];
    /** Objects that lose a holder, and go with their last. Names that are not stored are passed over. */
    readonly release?: readonly string[];
    /** Objects that go if they have no holder. */
    readonly sweep?: readonly string[];
}

/** All entries of a store, and the holders that each object has by them. */
export interface Held {
    readonly entries: readonly (readonly [key: string, value: Uint8Array])[];
    readonly holders: ReadonlyMap<string, number>;
}

/** What is known of an object without its bytes. */
export interface Holding {
    /** Of its value. */
    readonly bytes: number;
    /** Infinity where the store has lost count: then no release is the last. */
    readonly holders: number;
}

/**
 * Where turns are kept: entries by key, and objects by name, which are counted references to bytes that never change. Several stores may be
 * open on the same place, in one process or in several.
 *
 * Every method rejects with a DeltaStoreError: STORE_FAILED (the medium: no connection, disk full, no permission), DISPOSED after `close`.
 */
export interface SnapshotStore {
    /** Where it is, for messages. */
    readonly place: string;
    /** The entry's value; undefined if there is none. */
    get(key: string): Promise<Uint8Array | undefined>;
    /** The objects' bytes, in order. */
    objects(names: readonly string[]): Promise<(Uint8Array | undefined)[]>;
    /** Those of the names that are stored. */
    stored(names: readonly string[]): Promise<Map<string, Holding>>;
    /** Null if the step was done; then it is durable. */
    step(step: Step): Promise<Refusal | null>;
    /** Keys of entries that begin with this, in order. */
    keys(prefix: string): AsyncIterable<string>;
    /** All objects, in no order. May miss what comes or goes meanwhile. */
    inventory(): AsyncIterable<Holding & {readonly name: string}>;
    /** Bytes of all entries' and objects' values. */
    bytes(): Promise<number>;
    /**
     * Counts holders anew if the store has lost count.
     * @param count reads the entries and what they hold; null if that can't be known
     */
    recount?(count: () => Promise<Held | null>): Promise<void>;
    /** Waits for what is under way. Idempotent. */
    close(): Promise<void>;
}
