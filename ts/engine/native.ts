/**
 * The addon's whole surface, one to one with `plugin/addon.cc`: plain values and handles. What a user sees is made of it in the other folders.
 * Every function throws, or rejects with, an Error whose `code` is one of `ts/errors.ts`.
 */

/** How rows are stored once they leave the window. Codes live on Hadamard-rotated vectors. */
export type RowFormat = "f16" | "k4v4" | "k4v2" | "k3v2";

/** A row format, and how many of a page's 64 rows can have their values coded a second time. */
export type PageFormat = RowFormat | `${"k4v2" | "k3v2"}r${6 | 14}`;

/** How rows are stored while they are in the window: as they are, or at 8 bits. */
export type WindowFormat = "f16" | "k8v8";

/** How many rows each layer and KV head may keep, see `cpp/tiers/schedule.h`. */
export type EvictionSchedule = "retrieval" | "shared" | "uniform" | "preserveEarly" | "adaptive";

/** What decides which rows go, see `cpp/tiers/scorer.h`. */
export type EvictionScorer = "attention" | "h2o" | "snapkv" | "recency";

export interface Eviction {
    /** Share of the rows that stay, 0 to 1. The schedule says of which rows. */
    readonly keep: number;
    readonly schedule: EvictionSchedule;
    readonly scorer: EvictionScorer;
    /** Tokens that come between one eviction and the next. */
    readonly slack: number;
}

export interface NativeTier {
    name: string;
    format: PageFormat;
    /** At least so many of a sequence's newest tokens are not packed yet. */
    window: number;
    windowFormat: WindowFormat;
    /** First tokens of a sequence that stay F16. */
    sinks: number;
    eviction: Eviction | null;
}

export interface NativeCacheConfig {
    /** The tier of sequences that are given no other. */
    tier: NativeTier;
    /** Further tiers that sequences may be given. */
    others: NativeTier[];
    /** Sequences after the context's own, which hold kept prefixes. */
    keptPrefixes: number;
    /** The same for models of which a kept prefix has a state beside its rows: of recurrent layers, or sliding windows. */
    keptStates: number;
    /** Most bytes that the page pool may hold. 0 is no limit. */
    poolLimitBytes: number;
    /** Cells of the whole context (contextSize times sequences), as node-llama-cpp asked for them. */
    contextCells: number;
    /** Most tokens of one llama_decode call. */
    batchSize: number;
    /** Whether layers of the model may be on a GPU. Else GPU_LAYERS_UNSUPPORTED is thrown. */
    allowsGpuLayers: boolean;
}

/** Layers of one shape. */
export interface LayerGroup {
    readonly count: number;
    readonly kvHeads: number;
    /** Elements of a head's key and value. */
    readonly keyLength: number;
    readonly valueLength: number;
    /** Whether values are a part of the keys, and take nothing (MLA). No if absent. */
    readonly latent?: boolean;
}

/** What of a model its memory depends on. */
export interface ModelShape {
    /** Layers that attend to all tokens. */
    readonly attention: readonly LayerGroup[];
    /** Layers with a sliding window. Those that take another layer's rows are in neither. */
    readonly windows: readonly LayerGroup[];
    /** Tokens of the window; 0 if there is none. */
    readonly window: number;
    /** Recurrent states of one sequence. */
    readonly stateBytes: number;
}

/** What llama.cpp makes of a model. */
export interface ModelOutline {
    /** `general.architecture` */
    readonly architecture: string;
    /** The class of the memory that llama.cpp gives it. Null for none. */
    readonly memory: string | null;
    readonly layers: number;
    readonly recurrentLayers: number;
    /** Tokens of the context that it was trained with. */
    readonly trainedTokens: number;
    /** Whether it keeps latent vectors in place of keys and values (MLA). */
    readonly latent: boolean;
    readonly alibi: boolean;
    /** Whether positions can be shifted. */
    readonly shifts: boolean;
    /** Empty where the memory is of a kind of its own. */
    readonly shape: ModelShape;
    /** Why a packed cache of the tier can't serve it. Null if it can. */
    readonly refusal: {readonly code: string; readonly reason: string} | null;
}

/** Sequences that are held at a time, and the tokens of each. */
export interface NativeLoad {
    readonly sequences: number;
    readonly tokens: number;
    /** Most tokens that are evaluated in one go, as llama.cpp was told. */
    readonly batchSize: number;
    /** First tokens that the sequences of a group share. They were evaluated by themselves. 0 if absent. */
    readonly sharedTokens?: number;
    /** 1 if absent. */
    readonly groups?: number;
}

export interface NativeForecast {
    /** Of llama.cpp's own F16 cache. */
    stockBytes: number;
    /** Recurrent states, which llama.cpp keeps: a part of both other figures. */
    bytesBeside: number;
    /** Of a packed cache of the tier. Null without one. */
    residentBytes: number | null;
    /** Of these, the pages in use. The rest is bookkeeping, room in slabs, and `bytesBeside`. */
    parts: {packed: number; window: number; sinks: number} | null;
}

export interface NativeSequenceStats {
    id: number;
    tier: string;
    tokens: number;
    /** Share of the tokens' rows that were not evicted, over all layers and KV heads. */
    kept: number;
    /** A page that other sequences hold, too, counts in parts. */
    residentBytes: number;
    /** Bytes of all its pages that other sequences hold, too. */
    sharedBytes: number;
}

export interface NativeStats {
    tokens: number;
    /** Bytes that the system gave the pool, slack and bookkeeping counted. */
    residentBytes: number;
    /** Bytes of a stock F16 cache for the same tokens. */
    stockBytes: number;
    pages: number;
    peakResidentBytes: number;
    /** The part of residentBytes that kept prefixes hold. */
    keptBytes: number;
    /** The part of keptBytes that is states of windows and recurrent layers. */
    stateBytes: number;
    /** What llama.cpp has allocated for recurrent states. In none of the other figures. */
    bytesBeside: number;
    sequences: NativeSequenceStats[];
}

export interface NativeFailure {
    code: string;
    message: string;
    /** Bytes that the pool's limit lacked; 0 for other failures. */
    missingBytes: number;
}

/** For each row of logits: its most likely token, and the loss of one given token. */
export interface LogitScores {
    /** The token with the row's largest logit. The first of equals. */
    top: Uint32Array;
    /** Minus the natural logarithm of the given token's probability. */
    logLoss: Float64Array;
}

export interface LogitComparison {
    /** KL divergence of the second distribution from the first, in nats. NaN or infinite where the logits make it so. */
    kld: Float64Array;
    base: LogitScores;
    other: LogitScores;
}

/** node-llama-cpp's native context, see `runtime/addon.ts`. Nothing is known of it here. */
export type AddonContextHandle = object;

/** A sequence's rows in parts, see `cpp/snapshot/snapshot.h`. */
export interface SnapshotParts {
    readonly head: Uint8Array;
    readonly centres: readonly Uint8Array[];
    readonly blocks: readonly Uint8Array[];
    /**
     * The newest rows, which no block holds yet, and the state of windows and recurrent layers. Without it a sequence gets the blocks' rows, or none if
     * the model has such layers.
     */
    readonly tail: Uint8Array | null;
}

/** A snapshot keeps its blocks as they are until `endSnapshot`. */
export interface NativeSnapshot {
    readonly handle: object;
    readonly head: Uint8Array;
    readonly tail: Uint8Array;
    readonly centres: Uint8Array[];
    /** The number of blocks. */
    readonly blocks: number;
    /** An equal part for each block. Blocks of one context with the same identity have the same bytes. */
    readonly identities: Uint8Array;
}

/** How rows are stored that nobody reads for long, see `cpp/archive/row_codec.h`. Other fields than the codec's own are absent. */
export interface ArchiveCodec {
    readonly name: "transform" | "vq" | "pq" | "channel";
    readonly ratio?: number;
    /** Of `vq`: values that share a code word. Of `pq`: parts of a head. */
    readonly size?: number;
    readonly threshold?: number;
    readonly keyBits?: number;
    readonly valueBits?: number;
    readonly group?: number;
}

export interface NativeBinding {
    /** The kernels that this processor can run, best first, and the one in use. `DELTASTORE_KERNEL` overrides that. */
    kernels(): {available: string[]; selected: string};
    /** The llama.cpp release that the engine was built against. */
    readonly llamaCppRelease: string;
    /** llama.cpp's version of sequence state files. */
    readonly stateFileVersion: number;
    /** Registers the buffer type with the loaded ggml CPU backend. Only the first call of a process does something. */
    install(): {llamaLibrary: string; cpuLibrary: string};
    /** To be called before `init()`: llama.cpp then allocates next to nothing for its own cache. */
    prepareContext(context: AddonContextHandle): void;
    /** Undoes `prepareContext`, and frees what `init()` made. The next `init()` makes a stock context of `contextCells` cells. */
    restoreContext(context: AddonContextHandle, contextCells: number): void;
    /** To be called after `init()`: checks that the model can be served, and replaces the context's memory. Off the event loop. */
    adoptContext(context: AddonContextHandle, config: NativeCacheConfig): Promise<void>;
    /** Forgets the tokens that `admit` has counted. */
    beginAdmission(context: AddonContextHandle): void;
    /** Whether the pool has room for these tokens, besides those that were admitted before. If not, `takeFailure` says why. */
    admit(context: AddonContextHandle, sequenceId: number, firstPosition: number, tokens: number): boolean;
    /** Gives a sequence's rows to come this tier. Throws OPTION_INVALID, MODEL_UNSUPPORTED. */
    setTier(context: AddonContextHandle, sequenceId: number, name: string): void;
    /**
     * Gives rows the tier's format where that makes them smaller. The newest `window` rows stay, at most the tier's window. Between batches. Rejects
     * with POOL_LIMIT_REACHED or OUT_OF_MEMORY.
     */
    repack(context: AddonContextHandle, sequenceId: number, window: number): Promise<void>;
    /** Whether the sequence has grown by the slack of its tier's eviction since it was last evicted from. */
    evictionDue(context: AddonContextHandle, sequenceId: number): boolean;
    /** Drops rows. Off the event loop, between batches; the context must not be disposed meanwhile. Rejects if some had to stay. */
    evict(context: AddonContextHandle, sequenceId: number, eviction: Eviction): Promise<void>;
    /** So many of the sequence's first `end` positions can be taken over by another one, see `Cache::prefix_end`. */
    prefixEnd(context: AddonContextHandle, sequenceId: number, end: number): number;
    /**
     * Replaces `target`'s rows by the first `end` positions of `source`. Between batches. Where there is no memory, or the source no longer has the state
     * of windows and recurrent layers at `end`, it does nothing and says why. Where a part behind the first has no memory, or a kept state can't be read,
     * the target is empty.
     */
    forkPrefix(context: AddonContextHandle, source: number, target: number, end: number): NativeFailure | null;
    /** The bytes of the state that a kept prefix has beside its rows, if it is made of the sequence as it is now. 0 for models without such. */
    stateBytes(context: AddonContextHandle, sequenceId: number): number;
    /** A hash of 16 bytes over the whole file. Off the event loop, on several threads. Rejects with MODEL_NOT_FOUND, MODEL_CHANGED. */
    hashFile(path: string): Promise<Uint8Array>;
    /**
     * Says what rows of the context are made with: a hash of 8 bytes of the model, and one of its adapters, zeros for none. Until then nothing can be
     * saved or restored (NATIVE_FAILURE).
     */
    setOrigin(context: AddonContextHandle, model: Uint8Array, adapters: Uint8Array): void;
    /** Makes a snapshot of a sequence. Between batches. The snapshot may outlive the context. */
    beginSnapshot(context: AddonContextHandle, sequenceId: number): Promise<NativeSnapshot>;
    /** The blocks [begin, end) of a snapshot, off the event loop and at any time. */
    snapshotBlocks(handle: object, begin: number, end: number): Promise<Uint8Array[]>;
    endSnapshot(handle: object): void;
    /**
     * Replaces a sequence's rows and its tier, between batches. Gives the number of its tokens, and the blocks' identities. The bytes must not change
     * meanwhile. Rejects with STATE_*, POOL_LIMIT_REACHED or OUT_OF_MEMORY: the sequence is as it was, or empty if a part beside the attention has failed.
     */
    restoreSnapshot(context: AddonContextHandle, sequenceId: number, tier: string, parts: SnapshotParts): Promise<{tokens: number; identities: Uint8Array}>;
    /** How the context turns keys by their positions (RoPE). A few hundred bytes. */
    keyTurns(context: AddonContextHandle): Uint8Array;
    /**
     * Begins to learn from rows what a codec has to know of a model: its book. Not for `channel`, which needs none.
     * @param head of any snapshot whose origin and shapes the rows will have
     * @param turns what `keyTurns` gave; null if nobody knows
     */
    beginTraining(codec: ArchiveCodec, head: Uint8Array, turns: Uint8Array | null): object;
    /**
     * Learns from the rows of a snapshot's packed blocks, off the event loop. Gives the number of rows of each head so far. The bytes must not change
     * meanwhile. Rejects with STATE_*.
     */
    addTraining(trainer: object, centres: readonly Uint8Array[], blocks: readonly Uint8Array[]): Promise<number>;
    /** The book's bytes: megabytes, also for a small model. Off the event loop. The trainer can't be used any more. */
    endTraining(trainer: object): Promise<Uint8Array>;
    /** A book for `freezeParts` and `thawParts`. Off the event loop. Rejects with STATE_DAMAGED, STATE_FOREIGN, STATE_MODEL_MISMATCH. */
    openBook(codec: ArchiveCodec, head: Uint8Array, bytes: Uint8Array): Promise<object>;
    /**
     * Packed blocks, or tails, as frozen ones, off the event loop. A part that can't be made smaller comes back as it is, and so does a
     * tail with a state of windows or recurrent layers. The bytes must not change meanwhile. Rejects with STATE_*.
     * @param book of `openBook`; null for `channel`
     * @param fine whether these are the newest rows, which are read most
     */
    freezeParts(codec: ArchiveCodec, book: object | null, head: Uint8Array, centres: readonly Uint8Array[], parts: readonly Uint8Array[], fine: boolean):
        Promise<Uint8Array[]>;
    /** Frozen blocks, or tails, as `restoreSnapshot` takes them. The reverse of `freezeParts`. */
    thawParts(codec: ArchiveCodec, book: object | null, head: Uint8Array, centres: readonly Uint8Array[], parts: readonly Uint8Array[]): Promise<Uint8Array[]>;
    /** Tokens of the model's vocabulary. */
    vocabularySize(context: AddonContextHandle): number;
    /** Whether all of the model's layers attend to all tokens. Others have sliding windows or recurrent states. */
    onlyAttention(context: AddonContextHandle): boolean;
    /**
     * Whether a sequence has the state of its windows and recurrent layers behind its first `end` tokens. There it can be cut, or forked, and go on. Always
     * for models whose layers all attend to all tokens. A kept prefix has it at its end only.
     */
    canGoOn(context: AddonContextHandle, sequenceId: number, end: number): boolean;
    /** Whether the model's positions can be shifted. */
    canShift(context: AddonContextHandle): boolean;
    /** Why the context's last admission, decode, save or load failed. Taken: a second call gives null. */
    takeFailure(context: AddonContextHandle): NativeFailure | null;
    /** The figure of `stats`. It costs no more than a look at the page tables' sizes. */
    residentBytes(context: AddonContextHandle): number;
    /** What kept prefixes hold, as in `stats`: their rows, and the states at their ends. */
    keptBytes(context: AddonContextHandle): {rows: number; states: number};
    stats(context: AddonContextHandle): NativeStats;
    /**
     * Evaluates tokens, and gives the logits of those from `firstLogit` on, row by row (rows times vocabulary size). If `firstLogit` is the
     * number of tokens, it gives none. Evicts afterwards if that is due and the last token's logits were wanted. For the quality harness. It serves
     * stock contexts, too. The caller has the context's lock.
     */
    evaluateLogits(context: AddonContextHandle, sequenceId: number, firstPosition: number, tokens: Uint32Array,
                   firstLogit: number): Promise<Float32Array>;
    /** Gives the target the source's rows in place of its own. The parts of a `Packed` learn nothing of it. Stock contexts are served, too. */
    copySequence(context: AddonContextHandle, source: number, target: number): void;
    /** Drops a sequence's rows. */
    clearSequence(context: AddonContextHandle, sequenceId: number): void;
    /** Scores each row of logits by its token. Off the event loop. The array must not change meanwhile. */
    scoreLogits(logits: Float32Array, tokens: Uint32Array): Promise<LogitScores>;
    /** Compares two arrays of equally many rows of logits. Off the event loop. The arrays must not change meanwhile. */
    compareLogits(base: Float32Array, other: Float32Array, tokens: Uint32Array): Promise<LogitComparison>;
    /**
     * What llama.cpp makes of a model, from the headers of its files. The model is loaded without its weights, and a packed cache of the tier is tried. Off
     * the event loop. Rejects with MODEL_UNSUPPORTED if llama.cpp can't load it. It may abort the process on a header that makes no sense.
     */
    outlineModel(path: string, tier: NativeTier): Promise<ModelOutline>;
    /**
     * What sequences hold once their tokens are evaluated, from layouts alone, see `cpp/accounting/forecast.h`. A pure function. Throws MODEL_UNSUPPORTED
     * where a tier has no layout for the heads, OPTION_INVALID for numbers that are none.
     */
    forecast(shape: ModelShape, tier: NativeTier | null, load: NativeLoad): NativeForecast;
    /** Re-encodes a GGUF file's weights as F16 (`llama_model_quantize` with allow_requantize). */
    convertWeightsToF16(source: string, target: string): Promise<void>;
}
