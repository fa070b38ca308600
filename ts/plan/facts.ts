import {readFileSync} from "node:fs";
import {didYouMean, quoteList} from "../nearest.js";
import type {LayerGroup} from "../engine/native.js";
import type {CodecName, CodecOptions} from "../policy/codecs.js";
import type {Range} from "./range.js";

/** A figure that somebody published, and when it was true. */
export interface Fact<Value = number> {
    readonly value: Value;
    readonly source: string;
    /** YYYY, or YYYY-MM. */
    readonly date: string;
}

/** Of one GPU, or of a server without one. */
export interface MachineFacts {
    readonly title: string;
    /** Whether it is a server without a GPU. */
    readonly processor?: boolean;
    readonly memory: Fact;
    /** Bytes a second. */
    readonly bandwidth: Fact;
    /** 16-bit operations a second, without sparsity. */
    readonly flops: Fact;
    readonly watts: Fact;
    readonly idleWatts: Fact<Range>;
    /** Of the rest of the server, for each GPU. */
    readonly serverWatts: Fact<Range>;
    readonly gpusPerServer: Fact;
    /** Kilograms of CO2e of making one. */
    readonly embodiedKg: Fact<Range>;
    /** The same of a server without its GPUs. */
    readonly serverEmbodiedKg: Fact<Range>;
    readonly prices: readonly (Fact & {readonly provider: string; readonly kind: string})[];
}

export interface RegionFacts {
    readonly title: string;
    readonly gridKgPerKwh: Fact<Range>;
    readonly waterOffSite: Fact<Range>;
}

export interface FacilityFacts {
    readonly title: string;
    readonly pue: Fact<Range>;
    readonly waterOnSite: Fact<Range>;
}

export interface ShapeFacts {
    readonly title: string;
    readonly parameters: number;
    readonly activeParameters?: number;
    readonly weightBits?: number;
    readonly trainedTokens: number;
    readonly attention: readonly LayerGroup[];
    readonly windows?: readonly LayerGroup[];
    readonly window?: number;
    readonly source: string;
    readonly date: string;
}

/** Of page formats, from conversations that were saved. */
export interface AtRestFacts {
    /** Bytes at rest over bytes of packed pages in memory, with what a turn says of its tokens. */
    readonly formats: Readonly<Record<string, number>>;
    /** The same of the window's pages. */
    readonly window: number;
    readonly source: string;
    readonly date: string;
}

/** Of conversations at rest, cold and warm, as they were measured. */
export interface ColdFacts {
    readonly model: string;
    /** Of the keys and values of one token. */
    readonly elements: number;
    readonly parameters: number;
    readonly tokens: number;
    /** A conversation of so many tokens, with each codec and its options: its bytes, and how long restoring it takes, on how many cores. */
    readonly codecs: readonly (CodecOptions & {
        readonly codec: CodecName | "packed"; readonly bytes: number; readonly seconds: number; readonly cores: number;
    })[];
    readonly source: string;
    readonly date: string;
}

// dist/plan/facts.js and ts/plan/facts.ts are equally deep.
const read = <Facts>(name: string): Facts => JSON.parse(readFileSync(new URL(`../../ts/plan/facts/${name}.json`, import.meta.url), "utf8")) as Facts;
const once = <Facts>(name: string): () => Facts => {
    let facts: Facts | undefined;
    return () => facts ??= read<Facts>(name);
};

export const machines = once<Record<string, MachineFacts>>("machines");
export const regions = once<Record<string, RegionFacts>>("regions");
export const facilities = once<Record<string, FacilityFacts>>("facilities");
export const shapes = once<Record<string, ShapeFacts>>("models");
export const cold = once<ColdFacts>("cold");
export const atRest = once<AtRestFacts>("at-rest");

/** The sentence about a name that a table doesn't have. */
export function unknownName(name: string, known: readonly string[]): string {
    return `is not known; known are ${quoteList(known)}${didYouMean(name, known)}`;
}
