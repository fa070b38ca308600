// Generated from config-schema/policy.schema.json by scripts/generate-schema-types.mjs.

/**
 * How llama-deltastore keeps the KV cache: its tiers, who gets which, and how much memory they may take.
 */
export interface PolicyFile {
    /**
     * Where an editor finds this schema. The package doesn't read it.
     */
    $schema?: string;
    /**
     * Version of the file's format. 1 if absent.
     */
    version?: 1;
    /**
     * The tier of contexts that name none: a built-in tier (`exact`, `high`, `conservative`, `compact`, `recommended`, `balanced`, `aggressive`, `ultra`) or one of `tiers`. `high` if absent.
     */
    default?: string;
    /**
     * More tiers, by name. A built-in tier can't be redefined: give a new name, and the built-in one in `extends`.
     */
    tiers?: {
        [k: string]: PolicyTier;
    };
    /**
     * How much memory the pages of a context may take, and what happens as it fills.
     */
    pool?: {
        /**
         * The most memory that the pages of a context may take: bytes, or a string with a unit, such as "512MiB" or "2GB". KB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB powers of 1024. Unlimited if absent.
         */
        limit?: number | string;
        pressure?: PolicyPressure;
    };
    /**
     * Tiers of sequences by name and length. The first rule that fits counts. Where none fits, a sequence has the context's tier. The app's word, by getSequence's `kvCache` or `setTier`, counts more than any rule. A context whose own tier has the format `f16` heeds only rules with such tiers.
     */
    rules?: PolicyRule[];
    /**
     * What sequences of one context share that begin with the same tokens.
     */
    sharing?: {
        /**
         * Whether a prefix that another sequence of the context holds is attached instead of evaluated. The time until an answer begins can then tell that somebody asked with the same beginning before. `true` if absent. `store.fork` shares in any case.
         */
        automatic?: boolean;
        /**
         * `context`: all sequences of a context that name no `sharingGroup` share with one another, and those of each group among themselves. `group`: only the latter share, so nobody can tell by the time to an answer what another group asked. `context` if absent.
         */
        scope?: "context" | "group";
        /**
         * The most memory for prefixes whose sequences have ended: bytes, or a string with a unit, as in `pool.limit`. They are kept for sequences to come, and are the first to go when the pool is at its limit. "32MiB" if absent; 0 keeps none.
         */
        kept?: number | string;
        /**
         * For models with recurrent layers or sliding windows: the most memory for the states of these layers at the ends of kept prefixes, beside `kept`. Prefixes of such models can be taken over only where a state is kept. "256MiB" if absent; 0 keeps no prefixes of such models.
         */
        states?: number | string;
        /**
         * For the same models: how many tokens before a prompt's end the last state is kept. Each one before it is twice as far from the end. Whoever shares all but the last n tokens of a prompt evaluates less than 2n of them again. 32 if absent.
         */
        spacing?: number;
    };
    turns?: PolicyTurns;
    /**
     * What happens where layers of the model are on a GPU (`gpuLayers` above 0). `host` packs the cache in the machine's memory, and the processor computes the attention there: the context may be larger than the GPU's memory, and each layer's attention crosses to the processor and back. `stock` warns once, and keeps node-llama-cpp's own cache, on the GPU. `error` throws GPU_LAYERS_UNSUPPORTED. `host` if absent.
     */
    gpuLayers?: "host" | "stock" | "error";
    /**
     * What happens where the package can't serve a model, runtime or platform, or where the app names no tier and asks for what only the stock cache has. `error` throws an error with a code. `stock` warns once, and keeps node-llama-cpp's own cache. `error` if absent.
     */
    onUnsupported?: "error" | "stock";
}
/**
 * How the rows of a sequence are stored. Needs `format`, or a built-in tier in `extends`.
 */
export interface PolicyTier {
    /**
     * The built-in tier that gives the fields that are left out here.
     */
    extends?: "exact" | "high" | "conservative" | "compact" | "recommended" | "balanced" | "aggressive" | "ultra";
    /**
     * How rows are stored once they leave the window. `f16`: as they are. `k4v4`: keys and values in 4 bits. `k4v2`: keys in 4 bits, values in 2. `k3v2`: keys in 3 bits, values in 2.
     */
    format?: "f16" | "k4v4" | "k4v2" | "k3v2";
    /**
     * How many of the newest tokens are not packed or dropped yet, at least. 64 if absent. Has no effect on `f16` without `evict`.
     */
    window?: number;
    /**
     * How rows are stored until they leave the window. `k8v8`: at 8 bits, which is evaluated faster and takes half the memory. `f16`: as they are. `k8v8` if absent. Not with the format `f16`.
     */
    windowFormat?: "k8v8" | "f16";
    /**
     * How many of the first tokens stay F16 and are not dropped. 4 if absent. Has no effect on `f16` without `evict`.
     */
    sinks?: number;
    important?: PolicyImportant;
    evict?: PolicyEviction;
}
/**
 * Rows whose values have 4 bits where the format has 2. They are those that received most attention until they left the window, times the length of their values. Needs the format `k4v2` or `k3v2`, and a window.
 */
export interface PolicyImportant {
    /**
     * About which share of the rows: 0.1 is 6 and 0.2 is 14 of the 64 rows of a page, 0 is none.
     */
    share: 0 | 0.1 | 0.2;
}
/**
 * Drops rows that matter little. It does so when a next token is asked for and `slack` tokens have come: first after a prompt. Sinks and window always stay. All rows stay if absent.
 */
export interface PolicyEviction {
    /**
     * The share of the rows that stays. With the schedules `retrieval`, `shared` and `uniform` it is the share of all rows. With `preserveEarly` and `adaptive` it is the base that the schedule falls to: 0.5 keeps 0.6 to 0.7 of the rows.
     */
    keep: number;
    /**
     * How layers and heads share what stays. `retrieval`: all rows of the heads that look things up most, and an equal share of the others'. `shared`: one budget, which goes where scores are highest. `uniform`: the same share for each. `preserveEarly`: all rows in the first fifth of the layers, then less and less. `adaptive`: the same mean as `preserveEarly`, but more where attention is spread. `retrieval` if absent.
     */
    schedule?: "retrieval" | "shared" | "uniform" | "preserveEarly" | "adaptive";
    /**
     * What decides which rows go. `attention`: what a row adds to a query's output, on average. `h2o`: the attention that it received so far. `snapkv`: the attention of the last queries. `recency`: its age. `attention` if absent.
     */
    scorer?: "attention" | "h2o" | "snapkv" | "recency";
    /**
     * How many tokens come before the first eviction, and between one and the next. 512 if absent.
     */
    slack?: number;
}
/**
 * What idle sequences give up before a request is refused for the limit. Kept prefixes go first in any case. Then the windows of idle sequences are packed, the longest idle first, and they get the next of `tiers` behind their own. A sequence whose tier the app chose, by getSequence's `kvCache` or `setTier`, stays as it is. A sequence that is emptied has its old tier again.
 */
export interface PolicyPressure {
    /**
     * The window of an idle sequence is packed before it gets another tier. So many of its newest tokens then stay as they are. 16 if absent.
     */
    window?: number;
    /**
     * Names of tiers, from large to small. None if absent.
     */
    tiers?: string[];
    /**
     * The share of the limit at which this begins, between batches. It begins in any case when a request finds no room. 0.9 if absent.
     */
    above?: number;
    /**
     * A sequence counts as idle after so many seconds without an evaluation. 1 if absent.
     */
    idle?: number;
}
/**
 * The tier of sequences of a name, of a length, or both.
 */
export interface PolicyRule {
    /**
     * The `name` that getSequence was given. A `*` at the end stands for any ending.
     */
    name?: string;
    /**
     * Least length of the sequence, in tokens. It is counted when a prompt is evaluated, and after each token.
     */
    tokens?: number;
    /**
     * The tier that such a sequence gets.
     */
    tier: string;
}
/**
 * Where conversations are saved turn by turn, and for how long.
 */
export interface PolicyTurns {
    /**
     * A folder for an embedded store (LMDB), or the URL of a Redis or Valkey server, "redis://host:6379/0", for several machines. A relative folder is looked for in the working directory.
     */
    store: string;
    /**
     * How many turns a conversation can go back to, its newest one included. 100 if absent.
     */
    history?: number;
    /**
     * A conversation goes after so many seconds in which nobody saved or restored it. Never if absent.
     */
    ttl?: number;
    /**
     * The most that the store may hold: bytes, or a string with a unit, as in `pool.limit`. Above it conversations go, the longest unused first. Unlimited if absent.
     */
    budget?: number | string;
    /**
     * After so many seconds without an evaluation, what a sequence holds goes to the store. It comes back with the next evaluation. With `pool.limit` it goes sooner where a request finds no room. Sequences stay in memory if absent.
     */
    park?: number;
    /**
     * What becomes of conversations that nobody saved or restored for so long: they are frozen, step by step. Restoring thaws them. None is frozen if absent.
     */
    cold?: PolicyCold[];
}
/**
 * A step of a conversation's age. The last step counts whose age it has. Fields that are left out are as the codec has them by default.
 */
export interface PolicyCold {
    /**
     * The age: time since the conversation was last saved or restored. A number with the unit s, m, h or d.
     */
    after: string;
    /**
     * How it is stored then. `transform`, `vq`, `pq` and `channel` lose a little. `tokens` keeps no rows: restoring evaluates the tokens again.
     */
    codec: "transform" | "vq" | "pq" | "channel" | "tokens";
    /**
     * Of `transform`: bytes of F16 rows to bytes that are stored, about. 12 if absent.
     */
    ratio?: number;
    /**
     * Of `vq`: values that share a code word. 4 if absent.
     */
    size?: 2 | 4 | 8;
    /**
     * Of `pq`: parts of a head, each of which has a code word. 8 if absent.
     */
    parts?: 2 | 4 | 8 | 16 | 32;
    /**
     * Of `vq` and `pq`: a head's row whose relative squared error is above this stays F16. With 0, as if absent, none does.
     */
    threshold?: number;
    /**
     * Of `channel`: bits of a key's element. 2 if absent.
     */
    keyBits?: number;
    /**
     * Of `channel`: bits of a value's element. 2 if absent.
     */
    valueBits?: number;
    /**
     * Of `channel`: rows (of keys) or values (of a row) that share a scale and an offset. 64 if absent.
     */
    group?: 16 | 32 | 64;
}
