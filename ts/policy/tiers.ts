import {inspect} from "node:util";
import {DeltaStoreError} from "../errors.js";
import type {Eviction, PageFormat, RowFormat, WindowFormat} from "../engine/native.js";
import {didYouMean, quoteList} from "../nearest.js";
import {invalid} from "../options.js";
import type {ColdStep} from "./cold.js";

/** How the rows of one sequence are stored. */
export interface Tier {
    readonly name: string;
    readonly format: RowFormat;
    /** Newest tokens of a sequence that are not packed yet. There may be some more. */
    readonly window: number;
    readonly windowFormat: WindowFormat;
    /** First tokens of a sequence that stay F16. */
    readonly sinks: number;
    /** About which share of the packed rows has values of 4 bits instead of 2. */
    readonly important: ImportantShare;
    /** Null if all rows stay. */
    readonly eviction: Eviction | null;
}

export type ImportantShare = 0 | 0.1 | 0.2;

/** Whether the format's values have fewer bits than those of important rows. */
export function hasCoarseValues(format: RowFormat): format is "k4v2" | "k3v2" {
    return format === "k4v2" || format === "k3v2";
}

/** How rows lie in pages once they are packed: in the format, with room for the second codes of important rows. */
export function pageFormatOf({format, important}: Tier): PageFormat {
    if (important === 0 || !hasCoarseValues(format)) return format;
    return `${format}r${important === 0.1 ? 6 : 14}`;
}

/** About how many bits an element of a key and one of a value take together. Rows that go take none. */
export function bitsOf({format, important, eviction}: Tier): number {
    const bits = {f16: 32, k4v4: 8, k4v2: 6, k3v2: 5}[format] + 2 * important;
    return bits * (eviction?.keep ?? 1);
}

/** What sequences of a context share by themselves. */
export interface Sharing {
    readonly automatic: boolean;
    /** Most bytes of kept prefixes, whose sequences have ended. */
    readonly keptBytes: number;
    /** Most bytes of states of windows and recurrent layers at the ends of kept prefixes. */
    readonly stateBytes: number;
    /** Least tokens between two such states of a prompt. */
    readonly spacing: number;
    /** Whether sequences without a group share with one another. */
    readonly scope: "context" | "group";
}

export const defaultSharing: Sharing = {automatic: true, keptBytes: 32 * 1024 ** 2, stateBytes: 256 * 1024 ** 2, spacing: 32, scope: "context"};

/** Which sequences get a tier. */
export interface Rule {
    /** A sequence's name. A `*` at the end stands for any ending. */
    readonly name: string;
    /** Least length. */
    readonly tokens: number;
    readonly tier: Tier;
}

/** The tier of the first rule that fits a sequence's name, if it has one, and length. Undefined if none does. */
export function ruledTier(rules: readonly Rule[], name: string | undefined, tokens: number): Tier | undefined {
    const fits = (pattern: string) => pattern === "*" || (name !== undefined && (pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
    return rules.find((rule) => fits(rule.name) && tokens >= rule.tokens)?.tier;
}

/** What becomes of idle sequences as the pool fills. */
export interface Pressure {
    /** The window is packed first. So many of the newest tokens then stay as they are. */
    readonly window: number;
    /** The tiers that sequences get then, one after the other. */
    readonly tiers: readonly Tier[];
    /** Share of the pool's limit. */
    readonly above: number;
    /** Seconds without an evaluation until a sequence is idle. */
    readonly idle: number;
}

export const defaultPressure = {window: 16, above: 0.9, idle: 1} as const;

/** Where conversations are saved. */
export interface TurnsPolicy {
    /** A folder, or a Redis URL. */
    readonly store: string;
    /** Turns that a conversation can go back to. */
    readonly history: number;
    /** Seconds until an unused conversation goes. Infinity for never. */
    readonly ttl: number;
    /** Bytes that the store may hold. Infinity for no limit. */
    readonly budget: number;
    /** Seconds without an evaluation until a sequence is parked. Null for never. */
    readonly park: number | null;
    /** By age. Empty if conversations are never frozen. */
    readonly cold: readonly ColdStep[];
}

export const defaultTurns = {history: 100, ttl: Infinity, budget: Infinity, park: null, cold: []} as const;

/** A checked policy, with everything filled in. */
export interface Policy {
    /** The built-in tiers and the policy's own, by name. */
    readonly tiers: ReadonlyMap<string, Tier>;
    /** Tier of a context that asks for none. */
    readonly defaultTier: string;
    /** Where the app does not say which tier a sequence has, the first rule that fits does. */
    readonly rules: readonly Rule[];
    /** Most bytes that the page pool may hold. 0 for no limit. */
    readonly poolLimitBytes: number;
    /** Null if nothing but kept prefixes is given up before a request is refused. */
    readonly pressure: Pressure | null;
    readonly sharing: Sharing;
    /** Null if it names no store. */
    readonly turns: TurnsPolicy | null;
    /** What to do with a model that has layers on a GPU: a packed cache in the machine's memory, the stock cache, or an error. */
    readonly gpuLayers: "host" | "stock" | "error";
    /** What to do with a model, runtime or platform that can't be served, or with an app's options that only the stock cache has. */
    readonly onUnsupported: "error" | "stock";
}

export const defaultTierName = "high";

/** The `kvCache` value that leaves a context to node-llama-cpp. No tier may have this name. */
export const stockCacheName = "stock";

/** In tokens. Why these: docs/tiers.md. */
export const defaultWindow = 64;
export const defaultSinks = 4;
export const defaultWindowFormat = "k8v8";

/** What an `evict` means that leaves them out. Why these: docs/tiers.md. */
export const defaultEviction = {schedule: "retrieval", scorer: "attention", slack: 512} as const;

const allRows = {window: defaultWindow, windowFormat: defaultWindowFormat, sinks: defaultSinks, important: 0, eviction: null} as const;
const evicted = (name: string, keep: number): [string, Tier] =>
    [name, {...allRows, name, format: "k4v2", eviction: {...defaultEviction, keep}}];

export const builtInTiers: ReadonlyMap<string, Tier> = new Map<string, Tier>([
    ["exact", {...allRows, name: "exact", format: "f16", windowFormat: "f16"}],
    ["high", {...allRows, name: "high", format: "k4v4"}],
    ["conservative", {...allRows, name: "conservative", format: "k4v2", important: 0.1}],
    ["compact", {...allRows, name: "compact", format: "k3v2"}],
    // The shares that the papers' preserveEarly schedule keeps at 50, 30 and 10%.
    evicted("recommended", 0.68),
    evicted("balanced", 0.6),
    evicted("aggressive", 0.52),
    evicted("ultra", 0.3)
]);

/** The tiers that sequences of a context can have besides its own: all of a context's rows are rotated, or none. */
export function tiersBeside(own: Tier, policy: Policy): Tier[] {
    return [...policy.tiers.values()].filter((other) => other !== own && (own.format !== "f16" || other.format === "f16"));
}

/**
 * The policy's tier of this name.
 * @throws DeltaStoreError TIER_UNKNOWN, with the allowed names and the nearest one.
 */
export function resolveTier(policy: Policy, name: string): Tier {
    const tier = policy.tiers.get(name);
    if (tier !== undefined) return tier;
    const names = [...policy.tiers.keys()];
    throw name === stockCacheName ? unknownTier(name, names, " (it is node-llama-cpp's own cache)")
        : unknownTier(name, [...names, stockCacheName]);
}

/** @throws DeltaStoreError OPTION_INVALID if it is no string; `allowed` are the names that the message offers */
export function requireTierName(what: string, given: unknown, allowed: readonly string[]): asserts given is string {
    if (typeof given !== "string")
        throw invalid(`${what} is ${inspect(given, {depth: 0})}; allowed are ${quoteList(allowed)}`);
}

/** The error for a name that no tier has. `allowed` are the names that the message offers. */
export function unknownTier(name: string, allowed: readonly string[], note = ""): DeltaStoreError {
    const hint = didYouMean(name, allowed);
    return new DeltaStoreError("TIER_UNKNOWN",
        `No tier is named ${JSON.stringify(name)}${note}; allowed are ${quoteList(allowed)}${hint}.`);
}
