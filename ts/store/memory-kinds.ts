import type {ModelOutline} from "../engine/native.js";

/** A kind of memory that llama.cpp gives to models. */
export interface MemoryKind {
    /** Stable, for programs. */
    readonly name: string;
    readonly description: string;
}

/** The classes of llama.cpp. Which of them are served: `plugin/adopt.cc`, and for people docs/limits.md. */
const kinds: ReadonlyMap<string, MemoryKind> = new Map([
    ["llama_kv_cache", {name: "attention", description: "attention to all tokens"}],
    ["llama_kv_cache_iswa", {name: "window", description: "attention to all tokens, and to sliding windows"}],
    ["llama_memory_hybrid", {name: "hybrid", description: "attention to all tokens, and recurrent states"}],
    ["llama_memory_hybrid_iswa", {name: "hybrid-window", description: "attention to sliding windows, and recurrent states"}],
    ["llama_memory_recurrent", {name: "recurrent", description: "recurrent states alone"}],
    ["llama_memory_hybrid_idx", {name: "hybrid-indexed", description: "attention to tokens that an indexer chooses, and recurrent states"}],
    ["llama_kv_cache_dsa", {name: "indexed", description: "latent vectors, and attention to those that an indexer chooses (DSA)"}],
    ["llama_kv_cache_dsa_iswa", {name: "indexed-window", description: "latent vectors, attention to those that an indexer chooses, and sliding windows"}],
    ["llama_kv_cache_msa", {name: "sparse", description: "attention to blocks that an indexer chooses (MSA)"}],
    ["llama_kv_cache_dsv4", {name: "compressed", description: "compressed rows and sliding windows (DeepSeek V4)"}]
]);

export function memoryKindOf({memory, latent}: ModelOutline): MemoryKind {
    if (memory === null) return {name: "none", description: "none: the model doesn't go on with a text, or can't be tried alone"};
    if (memory === "llama_kv_cache" && latent) return {name: "latent", description: "latent vectors in place of keys and values (MLA)"};
    return kinds.get(memory) ?? {name: "unknown", description: `a kind of its own (${memory})`};
}

/** Of so few heads the schedule `retrieval` keeps one whole. It was measured with 3 (docs/quality.md, Gemma 3 270M). */
const fewHeads = 5;

/** What a packed cache of such a model can't do, in a few words. The details: docs/limits.md. */
export function limitsOf({shape, recurrentLayers, alibi, shifts}: ModelOutline): string[] {
    const windows = shape.windows.length > 0, recurrent = recurrentLayers > 0, heads = shape.attention.reduce((sum, {count, kvHeads}) => sum + count * kvHeads, 0);
    return [
        ...windows ? ["no rows of sliding windows are dropped by attention"] : [],
        ...recurrent ? ["recurrent states stay as llama.cpp keeps them"] : [],
        ...windows || recurrent ? ["prefixes are shared where a state of these layers was kept", "earlier turns are evaluated again"] : [],
        ...shifts ? [] : ["positions can't be shifted: at the context's end node-llama-cpp evaluates tokens again"],
        ...heads <= fewHeads && !alibi ? [`${heads} KV heads attend to all tokens: what only a later question asks for may be lost in tiers that drop rows`] : [],
        ...alibi ? ["no tier that drops rows, as each row needs its own position (ALiBi)"] : []
    ];
}
