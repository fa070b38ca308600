// Generated from config-schema/policy.schema.json by scripts/generate-policy-types.mjs.

/**
 * How llama-deltastore keeps the KV cache: the tiers, which one is the default, and the limits.
 */
export interface PolicyFile {
    /**
     * Where an editor finds this schema. The package doesn't read it.
     */
    $schema?: string;
    /**
     * Version of this file's format. 1 if absent.
     */
    version?: 1;
    /**
     * Name of the tier of a context that asks for none: a built-in tier (`exact`, `high`, `conservative`, `compact`, `recommended`, `balanced`, `aggressive`, `ultra`) or one of `tiers`. `high` if absent.
     */
    default?: string;
    /**
     * More tiers by name. A built-in tier can't be redefined: give a new name, and the built-in one in `extends`.
     */
    tiers?: {
        [k: string]: PolicyTier;
    };
    /**
     * Limits of the memory that holds the pages.
     */
    pool?: {
        /**
         * Most memory that the pages of a context may take: bytes, or a string with a unit such as "512MiB" or "2GB" (KB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB powers of 1024). Unlimited if absent.
         */
        limit?: number | string;
        pressure?: PolicyPressure;
    };
    /**
     * Tiers of sequences by name and length: the first rule that fits says which, unless the app does, by getSequence's `kvCache` or `setTier`. Where none fits it is the context's. A context whose own tier has the format `f16` heeds only rules with such tiers.
     */
    rules?: PolicyRule[];
    /**
     * What sequences of one context that begin with the same tokens hold together.
     */
    sharing?: {
        /**
         * Whether a prefix that another sequence of the context holds is attached instead of evaluated. How long an answer takes to begin then tells that somebody had asked with the same beginning. `true` if absent; `store.fork` shares in any case.
         */
        automatic?: boolean;
        /**
         * `context`: all sequences of a context that name no `sharingGroup` share, and those of each group among themselves. `group`: only the latter, so that nobody can tell by the time to an answer what another group had asked. `context` if absent.
         */
        scope?: "context" | "group";
        /**
         * Most memory for prefixes whose sequences have ended, kept for those to come: bytes, or a string with a unit as in `pool.limit`. They are the first to go when the pool is at its limit. "32MiB" if absent, 0 keeps none.
         */
        kept?: number | string;
    };
    turns?: PolicyTurns;
    /**
     * What to do with a model, runtime or platform that the package can't serve, or with a context of no named tier for which the app asks for what only the stock cache has: `error` throws a typed error, `stock` warns once and keeps node-llama-cpp's own cache. `error` if absent.
     */
    onUnsupported?: "error" | "stock";
}
/**
 * How the rows of one sequence are stored. Needs `format`, or `extends` to take what isn't given from a built-in tier.
 */
export interface PolicyTier {
    /**
     * Built-in tier that gives the fields left out here.
     */
    extends?: "exact" | "high" | "conservative" | "compact" | "recommended" | "balanced" | "aggressive" | "ultra";
    /**
     * How rows are stored once they leave the window: `f16` as they are, `k4v4` keys and values in 4 bits, `k4v2` keys in 4 bits and values in 2, `k3v2` keys in 3 bits and values in 2.
     */
    format?: "f16" | "k4v4" | "k4v2" | "k3v2";
    /**
     * Newest tokens of a sequence that are not packed or dropped yet, at least. In tokens; 64 if absent. Without effect on `f16` without `evict`.
     */
    window?: number;
    /**
     * How rows are stored until they leave the window: `k8v8` at 8 bits, which evaluates faster and takes half the memory, `f16` as they are. `k8v8` if absent. Not with the format `f16`.
     */
    windowFormat?: "k8v8" | "f16";
    /**
     * First tokens of a sequence that stay F16 and are not dropped. In tokens; 4 if absent. Without effect on `f16` without `evict`.
     */
    sinks?: number;
    important?: PolicyImportant;
    evict?: PolicyEviction;
}
/**
 * Rows whose values are kept at 4 bits where the format has 2: those that received most attention, times the length of their values, until they left the window. Needs the format `k4v2` or `k3v2` and a window.
 */
export interface PolicyImportant {
    /**
     * About their share: 0.1 is 6 and 0.2 is 14 of the 64 rows of a page, 0 none.
     */
    share: 0 | 0.1 | 0.2;
}
/**
 * Drops rows that matter little each time `slack` tokens have come and a next token is asked for, so first after a prompt. Sinks and window always stay. All rows stay if absent.
 */
export interface PolicyEviction {
    /**
     * Share of the rows that stays. With the schedules `retrieval`, `shared` and `uniform` that of all tokens; with `preserveEarly` and `adaptive` the base that the schedule falls to (0.5 keeps 0.6 to 0.7 of the tokens' rows).
     */
    keep: number;
    /**
     * How layers and heads share what stays: `retrieval` all rows of the heads that look things up most and an equal share of the others, `shared` one budget that goes where scores are highest, `uniform` the same share for each, `preserveEarly` all in the first fifth of the layers and less and less behind, `adaptive` the same mean, but more where attention is spread. `retrieval` if absent.
     */
    schedule?: "retrieval" | "shared" | "uniform" | "preserveEarly" | "adaptive";
    /**
     * What decides which rows go: `attention` what a row adds to a query's output on average, `h2o` the attention received so far, `snapkv` that of the last queries, `recency` the age. `attention` if absent.
     */
    scorer?: "attention" | "h2o" | "snapkv" | "recency";
    /**
     * Tokens that come between one eviction and the next, and before the first. 512 if absent.
     */
    slack?: number;
}
/**
 * What happens before a request is refused for the limit. Kept prefixes go first. Then idle sequences, the longest idle first, have their windows packed and get the next of `tiers` behind their own; but for those whose tier the app chose, by getSequence's `kvCache` or `setTier`. A sequence has its old tier again once it is emptied.
 */
export interface PolicyPressure {
    /**
     * Newest tokens of an idle sequence that stay as they are when the rest of its window is packed, before it gets another tier. 16 if absent.
     */
    window?: number;
    /**
     * Names of tiers, those that take less memory later. None if absent.
     */
    tiers?: string[];
    /**
     * Share of the limit that is held when this begins, between batches. It begins in any case when a request finds no room. 0.9 if absent.
     */
    above?: number;
    /**
     * Seconds without an evaluation until a sequence counts as idle. 1 if absent.
     */
    idle?: number;
}
/**
 * The tier of sequences of a name, of a length, or both.
 */
export interface PolicyRule {
    /**
     * What getSequence was given as `name`; with a `*` at the end, what names begin with.
     */
    name?: string;
    /**
     * Least length of the sequence, counted when a prompt is evaluated and after each token.
     */
    tokens?: number;
    /**
     * Name of the tier that such a sequence gets.
     */
    tier: string;
}
/**
 * Where conversations are saved turn by turn, and for how long.
 */
export interface PolicyTurns {
    /**
     * A folder for an embedded store (LMDB), by the working directory if relative, or the URL of a Redis or Valkey server, "redis://host:6379/0", for several machines.
     */
    store: string;
    /**
     * Turns that a conversation can go back to, its newest one among them. 100 if absent.
     */
    history?: number;
    /**
     * Seconds after which a conversation that nobody saved or restored goes. Never if absent.
     */
    ttl?: number;
    /**
     * Most that the store may hold before conversations go, the longest unused first: bytes, or a string with a unit as in `pool.limit`. Unlimited if absent.
     */
    budget?: number | string;
    /**
     * Seconds without an evaluation until what a sequence holds goes to the store, to come back with its next evaluation; with `pool.limit` it goes sooner where a request finds no room. Sequences stay in memory if absent.
     */
    park?: number;
}
