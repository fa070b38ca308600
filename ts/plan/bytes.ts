import {nativeTier} from "../context/pack.js";
import type {LayerGroup, ModelShape, NativeBinding} from "../engine/native.js";
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

/** llama.cpp pads a sequence's cells, and those of a window. */
const padded = (cells: number): number => Math.ceil(cells / 256) * 256;
/** Above so many sequences bytes are a straight line. */
const mostForecast = 256;

/** Bytes of a sequence's cells in node-llama-cpp's own cache, as it allocates them. Windows have cells for a window and a batch. */
function stockBytes(shape: ModelShape, cells: number, blockBytes: number, batchSize: number): number {
    const elements = ({count, kvHeads, keyLength, valueLength, latent}: LayerGroup) => count * kvHeads * (keyLength + (latent ? 0 : valueLength));
    const row = (groups: readonly LayerGroup[]) => groups.reduce((all, group) => all + elements(group), 0);
    const windowCells = Math.min(cells, padded(shape.window + batchSize));
    return (row(shape.attention) * cells + row(shape.windows) * windowCells) * blockBytes / 32 + shape.stateBytes;
}

/** Of one of `stockCaches`. Nothing is shared. A saved conversation is a state file. */
export function stockCacheBytes(shape: ModelShape, name: string, {context}: Scenario): CacheBytes {
    const {blockBytes} = stockCaches[name]!, batch = batchOf(shape), allocated = stockBytes(shape, padded(context.tokens), blockBytes, batch);
    const used = stockBytes(shape, context.tokens, blockBytes, batch);
    return {
        resident: (sequences) => sequences * allocated, read: used, atRest: used,
        parts: {packed: used - shape.stateBytes, window: 0, sinks: 0, bookkeeping: allocated - used, states: shape.stateBytes}
    };
}

/** Of a packed cache of the tier, from the engine's own layouts. */
export function tierBytes(native: NativeBinding, shape: ModelShape, tier: Tier, {context}: Scenario, facts: AtRestFacts): CacheBytes {
    const forecast = (sequences: number, sharedTokens: number) => native.forecast(shape, nativeTier(tier), {
        sequences, tokens: context.tokens, batchSize: batchOf(shape), sharedTokens, groups: Math.min(context.groups, sequences)
    });
    const {residentBytes, parts: pages, bytesBeside} = forecast(1, 0), {packed, window, sinks} = pages!;
    const of = (sequences: number) => forecast(sequences, context.sharedTokens).residentBytes!;
    const most = mostForecast + context.groups;
    const line = () => (of(2 * most) - of(most)) / most;
    return {
        resident: (sequences) => sequences <= most ? of(sequences) : of(most) + (sequences - most) * line(),
        parts: {packed, window, sinks, bookkeeping: residentBytes! - packed - window - sinks - bytesBeside, states: bytesBeside},
        read: packed + window + sinks + bytesBeside,
        atRest: packed * facts.formats[pageFormatOf(tier)]! + window * facts.window + sinks + bytesBeside
    };
}
