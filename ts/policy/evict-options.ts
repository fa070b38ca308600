import {inspect} from "node:util";
import type {Eviction, EvictionSchedule, EvictionScorer} from "../engine/native.js";
import {didYouMean, quoteList} from "../nearest.js";
import {invalid} from "../options.js";
import {defaultEviction, type Tier} from "./tiers.js";

export const schedules: readonly EvictionSchedule[] = ["retrieval", "shared", "uniform", "preserveEarly", "adaptive"];
export const scorers: readonly EvictionScorer[] = ["attention", "h2o", "snapkv", "recency"];

/** Options of `store.evict`: fields of a policy tier's `evict`. What is left out is as in the sequence's tier. */
export interface EvictOptions {
    /** Share of the rows that stays, 0 to 1. The schedule says of which rows. */
    keep?: number;
    schedule?: EvictionSchedule;
    scorer?: EvictionScorer;
}

const fields = ["keep", "schedule", "scorer"];

/** @throws DeltaStoreError OPTION_INVALID */
export function evictionOf(tier: Tier, options: EvictOptions): Eviction {
    if (typeof options !== "object" || options === null || Array.isArray(options))
        throw invalid(`evict's options are ${inspect(options, {depth: 0})}; an object with the fields ${quoteList(fields)} is allowed`);
    for (const field of Object.keys(options))
        if (!fields.includes(field)) throw invalid(`evict has no option "${field}"; allowed are ${quoteList(fields)}${didYouMean(field, fields)}`);
    const {keep = tier.eviction?.keep, schedule = tier.eviction?.schedule ?? defaultEviction.schedule,
        scorer = tier.eviction?.scorer ?? defaultEviction.scorer} = options;
    if (keep === undefined) throw invalid(`Tier "${tier.name}" doesn't say how much to keep; give "keep", from 0 to 1`);
    if (typeof keep !== "number" || !(keep >= 0 && keep <= 1)) throw invalid(`keep is ${typeof keep === "number" ? keep : JSON.stringify(keep)}; allowed is a number from 0 to 1`);
    oneOf("schedule", schedule, schedules);
    oneOf("scorer", scorer, scorers);
    return {keep, schedule, scorer, slack: tier.eviction?.slack ?? defaultEviction.slack};
}

function oneOf(option: string, value: string, allowed: readonly string[]): void {
    if (!allowed.includes(value))
        throw invalid(`${option} is ${JSON.stringify(value)}; allowed are ${quoteList(allowed)}${typeof value === "string" ? didYouMean(value, allowed) : ""}`);
}
