import {nativeTier} from "../context/pack.js";
import type {ModelShape, NativeBinding} from "../engine/native.js";
import {pageFormatOf, type Tier} from "../policy/tiers.js";
import {batchOf} from "../store/model-report.js";
import type {AtRestFacts} from "./facts.js";
import {stockCaches, type Scenario} from "./scenario.js";

/** Bytes of one conversation, by part. */
export interface Parts {
    readonly packed: number;
    readonly window: number;
    readonly sinks: number;
    /** Lists of pages, sums of attention, and room in slabs. */
    readonly bookkeeping: number;
    /** Recurrent ones, which llama.cpp keeps. */
    readonly states: number;
}

/** What conversations of one cache take. */
export interface CacheBytes {
    /** Of so many conversations on one machine, where each group's beginning is held once. */
    resident(sequences: number): number;
    /** Of one conversation that shares nothing. */
    readonly parts: Parts;
    /** That its attention reads for a token. */
    readonly read: number;
    readonly atRest: number;
}

/** llama.cpp pads a sequence's cells. */
const padded = (cells: number): number => Math.ceil(cells / 256) * 256;
/** Above so many sequences bytes are a straight line. */
const mostForecast = 256;

/** Of one of `stockCaches`, as node-llama-cpp allocates it. Nothing is shared. A saved conversation is a state file. */
export function stockCacheBytes(native: NativeBinding, shape: ModelShape, name: string, {context}: Scenario): CacheBytes {
    const {stateBytes} = shape;
    const rows = (tokens: number) => {
        const {stockBytes} = native.forecast(shape, null, {sequences: 1, tokens, batchSize: batchOf(shape)});
        return (stockBytes - stateBytes) / stockCaches["stock-f16"]!.blockBytes * stockCaches[name]!.blockBytes;
    };
    const used = rows(context.tokens), allocated = rows(padded(context.tokens)) + stateBytes;
    return {
        resident: (sequences) => sequences * allocated, read: used + stateBytes, atRest: used + stateBytes,
        parts: {packed: used, window: 0, sinks: 0, bookkeeping: allocated - used - stateBytes, states: stateBytes}
    };
}

/** Of a packed cache of the tier, from the engine's own layouts. */
export function tierBytes(native: NativeBinding, shape: ModelShape, tier: Tier, {context}: Scenario, facts: AtRestFacts): CacheBytes {
    const forecast = (sequences: number, sharedTokens: number) => native.forecast(shape, nativeTier(tier), {
        sequences, tokens: context.tokens, batchSize: batchOf(shape), sharedTokens, groups: Math.min(context.groups, sequences)
    });
    const {residentBytes, parts: pages, bytesBeside} = forecast(1, 0), {packed, window, sinks} = pages!;
    const known = new Map<number, number>();
    const of = (sequences: number): number => {
        const bytes = known.get(sequences) ?? forecast(sequences, context.sharedTokens).residentBytes!;
        known.set(sequences, bytes);
        return bytes;
    };
    const most = mostForecast + context.groups;
    return {
        resident: (sequences) => sequences <= most ? of(sequences) : of(most) + (sequences - most) * (of(2 * most) - of(most)) / most,
        parts: {packed, window, sinks, bookkeeping: residentBytes! - packed - window - sinks - bytesBeside, states: bytesBeside},
        read: packed + window + sinks + bytesBeside,
        atRest: packed * facts.formats[pageFormatOf(tier)]! + window * facts.window + sinks + bytesBeside
    };
}
