import type {Parts} from "./bytes.js";
import type {Fleet, Impossible} from "./fleet.js";
import type {Impact} from "./impact.js";
import type {Input} from "./inputs.js";
import type {Claim} from "./presets.js";

/** What a plan says. Bytes, seconds, joules, US dollars, kilograms and litres. */
export interface PlanReport {
    readonly inputs: readonly Input[];
    readonly model: {readonly title: string; readonly parameters: number; readonly weightBytes: number};
    readonly machine: string;
    readonly caches: readonly CachePlan[];
    /** GPUs and yearly cost of more and fewer users. */
    readonly growth: readonly GrowthPoint[];
    /** What the figures don't tell. */
    readonly notes: readonly string[];
    /** Of a preset: the papers' figures, and what follows from their own assumptions. */
    readonly claims: readonly (Claim & {readonly follows: boolean})[];
}

export interface CachePlan {
    readonly name: string;
    readonly title: string;
    /** Of one conversation that shares nothing, computed. */
    readonly bytes: number;
    readonly parts: Parts;
    /** Of one conversation where all conversations of a group of GPUs share their beginnings. */
    readonly bytesShared: number;
    /** Whether that was measured. */
    readonly measured: boolean;
    readonly bytesAtRest: number;
    /** Where no number of GPUs will do, the reason. */
    readonly fleet: Fleet | Impossible;
    /** Null without a fleet. */
    readonly impact: Impact | null;
    /** Conversations that a GPU has room for. */
    readonly sequencesPerGpu: number | null;
    /** Tokens a second that a group of GPUs generates for its batch, and whether that was measured. */
    readonly speed: {readonly decode: number; readonly prefill: number; readonly measured: boolean} | null;
    /** Of a token that is generated in the busiest hour: board power of the GPUs while they work, without servers. Null if none is. */
    readonly joulesPerToken: number | null;
    /** Less than the first cache by. Null where either has no fleet. */
    readonly saved: {readonly gpus: number; readonly usd: number; readonly kwh: number; readonly carbonKg: number} | null;
}

export interface GrowthPoint {
    readonly users: number;
    /** By cache. Null where no number will do. */
    readonly gpus: Readonly<Record<string, number | null>>;
    readonly usd: Readonly<Record<string, number | null>>;
}

export const isFleet = (fleet: Fleet | Impossible): fleet is Fleet => !("reason" in fleet);
