/**
 * The addon's whole surface, one to one with `plugin/addon.cc`. Plain values and handles; policy and ergonomics live in
 * TypeScript. Every function throws (or rejects with) an Error whose `code` is one of `ts/errors.ts`.
 */

/** How rows are stored once they leave the window. Codes live on Hadamard-rotated vectors. */
export type RowFormat = "f16" | "k4v4" | "k4v2" | "k3v2";

/** The same, with how many of a page's 64 rows can have their values coded a second time. */
export type PageFormat = RowFormat | `${"k4v2" | "k3v2"}r${6 | 14}`;

/** How rows are stored until then: as they are, or at 8 bits. */
export type WindowFormat = "f16" | "k8v8";

/** How many rows each layer and KV head may keep, see `cpp/eviction/schedule.h`. */
export type EvictionSchedule = "retrieval" | "shared" | "uniform" | "preserveEarly" | "adaptive";

/** What decides which rows go, see `cpp/eviction/`. */
export type EvictionScorer = "attention" | "h2o" | "snapkv" | "recency";

export interface Eviction {
    /** Share of a sequence's rows that stays; of what, the schedule says. 0 to 1. */
    readonly keep: number;
    readonly schedule: EvictionSchedule;
    readonly scorer: EvictionScorer;
    /** Tokens that come between one eviction and the next. */
    readonly slack: number;
}

export interface NativeTier {
    name: string;
    format: PageFormat;
    /** Newest tokens of a sequence that aren't packed yet, at least. */
    window: number;
    windowFormat: WindowFormat;
    /** First tokens of a sequence that stay F16. */
    sinks: number;
    eviction: Eviction | null;
}

export interface NativeCacheConfig {
    /** Of sequences that are given no other. */
    tier: NativeTier;
    /** That sequences may be given. */
    others: NativeTier[];
    /** Sequences behind the context's own, for prefixes that others take over. */
    keptPrefixes: number;
    /** Most bytes that the page pool may hold; 0 is no limit. */
    poolLimitBytes: number;
    /** Cells of the whole context (contextSize x sequences), as node-llama-cpp asked for them. */
    contextCells: number;
    /** Tokens of one llama_decode call at most. */
    batchSize: number;
}

export interface NativeSequenceStats {
    id: number;
    tier: string;
    tokens: number;
    /** Share of the tokens' rows that were not evicted, over all layers and heads. */
    kept: number;
    /** A page that other sequences hold too counts in parts. */
    residentBytes: number;
    /** Of all pages that other sequences hold too. */
    sharedBytes: number;
}

export interface NativeStats {
    tokens: number;
    /** Bytes the pool holds from the system, slack and bookkeeping counted. */
    residentBytes: number;
    /** What a stock F16 cache would hold for the same tokens. */
    stockBytes: number;
    pages: number;
    peakResidentBytes: number;
    /** Of residentBytes, what kept prefixes hold. */
    keptBytes: number;
    sequences: NativeSequenceStats[];
}

export interface NativeFailure {
    code: string;
    message: string;
}

/** What rows of logits say of one token each. */
export interface LogitScores {
    /** The token with a row's largest logit, the first of equals. */
    top: Uint32Array;
    /** Minus the natural logarithm of the given token's probability. */
    logLoss: Float64Array;
}

export interface LogitComparison {
    /** Kullback-Leibler divergence of the second distribution from the first, in nats. NaN or infinite where the logits make it so. */
    kld: Float64Array;
    base: LogitScores;
    other: LogitScores;
}

/** Node-llama-cpp's own `AddonContext` instance (`context._ctx`); opaque here. */
export type AddonContextHandle = object;

/** A sequence's rows in parts, see `cpp/snapshot.h`. */
export interface SnapshotParts {
    readonly head: Uint8Array;
    readonly centres: readonly Uint8Array[];
    readonly blocks: readonly Uint8Array[];
    /** What blocks don't hold yet; without it a sequence gets what they hold. */
    readonly tail: Uint8Array | null;
}

/** Holds blocks as they are, until `endSnapshot`. */
export interface NativeSnapshot {
    readonly handle: object;
    readonly head: Uint8Array;
    readonly tail: Uint8Array;
    readonly centres: Uint8Array[];
    /** How many there are. */
    readonly blocks: number;
    /** As many bytes of each block: blocks of one context that have the same ones have the same bytes. */
    readonly identities: Uint8Array;
}

export interface NativeBinding {
    /** Kernels that this processor can run, best first, and the one in use (`DELTASTORE_KERNEL` overrides). */
    kernels(): {available: string[]; selected: string};
    /** The llama.cpp release that the engine was built against. */
    readonly llamaCppRelease: string;
    /** Registers the buffer type with the loaded ggml CPU backend. Once a process; later calls do nothing. */
    install(): {llamaLibrary: string; cpuLibrary: string};
    /** Before `init()`: makes llama.cpp allocate next to nothing for its own cache. */
    prepareContext(context: AddonContextHandle): void;
    /** Undoes `prepareContext` and frees what `init()` made; `init()` then makes a stock context of `contextCells` cells. */
    restoreContext(context: AddonContextHandle, contextCells: number): void;
    /** After `init()`: checks that the model can be served and replaces the context's memory. Off the event loop. */
    adoptContext(context: AddonContextHandle, config: NativeCacheConfig): Promise<void>;
    /** Forgets what `admit` has counted. */
    beginAdmission(context: AddonContextHandle): void;
    /** Whether the pool has room for these tokens besides those admitted before them; if not, `takeFailure` says why. */
    admit(context: AddonContextHandle, sequenceId: number, firstPosition: number, tokens: number): boolean;
    /** For a sequence's rows to come. Throws OPTION_INVALID, MODEL_UNSUPPORTED. */
    setTier(context: AddonContextHandle, sequenceId: number, name: string): void;
    /**
     * Rows but the newest `window` (at most the tier's) take the tier's format where that makes them smaller. Between batches. Rejects with
     * POOL_LIMIT_REACHED or OUT_OF_MEMORY.
     */
    repack(context: AddonContextHandle, sequenceId: number, window: number): Promise<void>;
    /** Whether the sequence has grown by the slack of its tier's eviction since it was last evicted from. */
    evictionDue(context: AddonContextHandle, sequenceId: number): boolean;
    /** Drops rows. Off the event loop, between batches; the context must not be disposed meanwhile. Rejects if some had to stay. */
    evict(context: AddonContextHandle, sequenceId: number, eviction: Eviction): Promise<void>;
    /** How much of the sequence's first `end` positions another one can take over, see `Cache::prefix_end`. */
    prefixEnd(context: AddonContextHandle, sequenceId: number, end: number): number;
    /** Gives `target` the first `end` positions of `source` in place of its own rows. Between batches. Without memory nothing is done, and it says why. */
    forkPrefix(context: AddonContextHandle, source: number, target: number, end: number): NativeFailure | null;
    /** 16 bytes that every byte of the file tells in. Off the event loop, on several threads. Rejects with MODEL_NOT_FOUND, MODEL_CHANGED. */
    hashFile(path: string): Promise<Uint8Array>;
    /**
     * What rows of the context are made with: hashes of 8 bytes of the model and, or zeros, of its adapters. Without it nothing is saved or restored
     * (NATIVE_FAILURE).
     */
    setOrigin(context: AddonContextHandle, model: Uint8Array, adapters: Uint8Array): void;
    /** Takes hold of what a sequence has. Between batches; the snapshot may outlive the context. */
    beginSnapshot(context: AddonContextHandle, sequenceId: number): Promise<NativeSnapshot>;
    /** The blocks [begin, end) of a snapshot, off the event loop and at any time. */
    snapshotBlocks(handle: object, begin: number, end: number): Promise<Uint8Array[]>;
    endSnapshot(handle: object): void;
    /**
     * Replaces what a sequence holds and its tier, between batches, and gives the number of its tokens and the blocks' identities; the bytes must not change
     * meanwhile. Rejects with STATE_*, POOL_LIMIT_REACHED or OUT_OF_MEMORY, and the sequence is as it was.
     */
    restoreSnapshot(context: AddonContextHandle, sequenceId: number, tier: string, parts: SnapshotParts): Promise<{tokens: number; identities: Uint8Array}>;
    /** Whether the model's positions can be shifted. */
    canShift(context: AddonContextHandle): boolean;
    /** The reason for the last failed decode, save or load of this context, taken (so a second call gives null). */
    takeFailure(context: AddonContextHandle): NativeFailure | null;
    /** Of `stats`, at the cost of the page tables' sizes only. */
    residentBytes(context: AddonContextHandle): number;
    stats(context: AddonContextHandle): NativeStats;
    /**
     * Evaluates tokens and returns the logits of those from `firstLogit` on, row by row (rows x vocabulary size); none if it is the
     * number of tokens.
     * For the quality harness; serves stock contexts too. Evicts afterwards if that is due and the last token's logits were wanted.
     */
    evaluateLogits(context: AddonContextHandle, sequenceId: number, firstPosition: number, tokens: Uint32Array,
                   firstLogit: number): Promise<Float32Array>;
    /** Drops a sequence's rows, for the harness. */
    clearSequence(context: AddonContextHandle, sequenceId: number): void;
    /** Scores rows of logits by the token that each is given, off the event loop; the array must not change meanwhile. */
    scoreLogits(logits: Float32Array, tokens: Uint32Array): Promise<LogitScores>;
    /** Compares two arrays of as many rows of logits, off the event loop; the arrays must not change meanwhile. */
    compareLogits(base: Float32Array, other: Float32Array, tokens: Uint32Array): Promise<LogitComparison>;
    /** Re-encodes a GGUF file's weights as F16 (`llama_model_quantize` with allow_requantize). */
    convertWeightsToF16(source: string, target: string): Promise<void>;
}
