import type {CacheBytes} from "./bytes.js";
import type {Machine, PlannedModel, Scenario} from "./scenario.js";
import {largest, type Throughput} from "./speed.js";

/** What ends first as users come: room, the speed of answers, or the evaluation of prompts. */
export type Limit = "memory" | "decode" | "prefill";

export interface Fleet {
    readonly gpus: number;
    /** That hold the weights together and serve users of their own. */
    readonly gpusPerGroup: number;
    readonly groups: number;
    readonly limit: Limit;
    /** Of the busiest hour: shares of the room, and of the time that decoding and evaluating prompts take. */
    readonly memoryShare: number;
    readonly decodeShare: number;
    readonly prefillShare: number;
    /** Sequences that a group decodes for at once in that hour, at most. */
    readonly batch: number;
    /** Conversations of a group that are in memory. */
    readonly sequencesPerGroup: number;
}

/** Why no number of GPUs will do. */
export interface Impossible {
    readonly reason: string;
}

/** Tokens a second in the busiest hour, of all users, and conversations in memory. */
export interface Demand {
    readonly decode: number;
    readonly prefill: number;
    readonly resident: number;
    readonly active: number;
}

const secondsPerDay = 86_400;
const mostGpus = 1 << 26;

/** @param restores whether parked conversations come back without being evaluated again */
export function demandOf({users, context, turns}: Scenario, count: number, restores: boolean): Demand {
    const {active, parked} = users, returning = restores ? 0 : Math.min(turns.perDay, turns.returnsPerDay) * parked;
    return {
        decode: count * active * turns.outputRate,
        prefill: count * turns.peak / secondsPerDay * (turns.perDay * turns.tokens + returning * Math.max(0, context.tokens - turns.tokens)),
        resident: Math.max(1, Math.ceil(count * (active + (1 - active) * (1 - parked)))), active: Math.max(1, Math.ceil(count * active))
    };
}

/**
 * The fewest GPUs for a demand.
 * @param throughput of so many GPUs that work as one
 */
export function fleetFor(demand: Demand, bytes: CacheBytes, model: PlannedModel, machine: Machine, throughput: (gpus: number) => Throughput, leastSpeed: number): Fleet | Impossible {
    const room = machine.memory * machine.usable, load = (gpus: number, groups: number) => loadOf(demand, throughput(gpus), groups, leastSpeed);
    const needed = (sequences: number) => model.weightBytes + bytes.resident(sequences);
    if (machine.weights === "sharded") {
        const forMemory = Math.max(1, Math.ceil(needed(demand.resident) / room));
        const gpus = fewest(forMemory, (count) => fits(load(count, 1)));
        return gpus === null ? tooSlow(leastSpeed) : describe(gpus, 1, gpus === forMemory, needed(demand.resident) / (gpus * room), load(gpus, 1), demand.resident);
    }
    const gpusPerGroup = Math.max(1, Math.ceil(needed(1) / room));
    const perGroup = largest(demand.resident, (sequences) => needed(sequences) <= gpusPerGroup * room);
    const forMemory = Math.ceil(demand.resident / perGroup);
    const groups = fewest(forMemory, (count) => fits(load(gpusPerGroup, count)));
    if (groups === null) return tooSlow(leastSpeed);
    const sequences = Math.ceil(demand.resident / groups);
    return describe(gpusPerGroup, groups, groups === forMemory, needed(sequences) / (gpusPerGroup * room), load(gpusPerGroup, groups), sequences);
}

interface Load {
    readonly decodeShare: number;
    readonly prefillShare: number;
    readonly batch: number;
}

/** Of one of `groups` groups. */
function loadOf(demand: Demand, throughput: Throughput, groups: number, leastSpeed: number): Load {
    const batch = Math.min(throughput.mostAt(leastSpeed), Math.ceil(demand.active / groups));
    return {decodeShare: demand.decode / groups / throughput.decode(batch), prefillShare: demand.prefill / groups / throughput.prefill, batch};
}

const fits = ({decodeShare, prefillShare, batch}: Load): boolean => batch > 0 && decodeShare + prefillShare <= 1;

/** The least number from `least` on that will do; more always do, too. Null if none does. */
function fewest(least: number, willDo: (count: number) => boolean): number | null {
    let high = least;
    while (!willDo(high)) {
        if (high > mostGpus) return null;
        high *= 2;
    }
    return high === least ? least : least + 1 + largest(high - least, (more) => !willDo(least + more));
}

/** @param byMemory whether the room alone asks for as many GPUs */
function describe(gpusPerGroup: number, groups: number, byMemory: boolean, memoryShare: number, load: Load, sequencesPerGroup: number): Fleet {
    const {decodeShare, prefillShare} = load, fullest = groups > 1 || memoryShare >= decodeShare + prefillShare;
    const limit = byMemory && fullest ? "memory" : decodeShare >= prefillShare ? "decode" : "prefill";
    return {gpus: gpusPerGroup * groups, gpusPerGroup, groups, limit, memoryShare, ...load, sequencesPerGroup};
}

const tooSlow = (leastSpeed: number): Impossible => ({reason: `no sequence gets ${leastSpeed} tokens a second, however many GPUs there are`});
