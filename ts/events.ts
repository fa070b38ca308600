import type {LlamaContext} from "node-llama-cpp";
import type {DeltaStoreError} from "./errors.js";

/** What happened to a context's cache. `sequenceId` is a LlamaContextSequence's. */
export type CacheEvent =
    /** A prefix of so many tokens was attached to a sequence instead of evaluated. */
    | {type: "attach"; sequenceId: number; tokens: number}
    /** A prefix is kept for sequences to come. */
    | {type: "keep"; tokens: number}
    /** A kept prefix is gone: for the budget, the pool's limit, a newer one, or another adapter (LoRA). */
    | {type: "drop"; tokens: number; reason: "budget" | "limit" | "newer" | "adapter"}
    /** Rows of a sequence were dropped, by its tier, `evict` or a change of tier; `kept` is the share of its tokens' rows that are left. */
    | {type: "evict"; sequenceId: number; tokens: number; kept: number}
    /** A sequence that may hold tokens has another tier: by `setTier`, a rule of the policy, or the pool's pressure. */
    | {type: "tier"; sequenceId: number; tier: string; before: string; reason: "call" | "rule" | "pressure"}
    /** What a sequence holds is in the store of turns now, and no more in memory. */
    | {type: "park"; sequenceId: number; tokens: number}
    /** It is back, with so many of its tokens; the others are evaluated again. */
    | {type: "unpark"; sequenceId: number; tokens: number}
    /** An evaluation or a fork failed for want of memory: POOL_LIMIT_REACHED or OUT_OF_MEMORY. */
    | {type: "refuse"; sequenceId: number; error: DeltaStoreError};

export type StoreEvent = CacheEvent & {context: LlamaContext};
