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
    /** Of the busiest hour: shares of the room, and of the time that decoding and evaluating prompts take with full batches. */
    readonly memoryShare: number;
    readonly decodeShare: number;
    readonly prefillShare: number;
    /** Sequences that a group can decode for at once in that hour, at most. */
    readonly batch: number;
    /** Shares of its time that a GPU works: in that hour, and in the mean hour. It works for few sequences nearly as long as for many. */
    readonly busy: number;
    readonly meanBusy: number;
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
    /** How many times the mean hour's load that is. */
    readonly peak: number;
}

const secondsPerDay = 86_400;
const mostGpus = 1 << 26;
/** Share of a group's room, where nobody says how many GPUs it has: the rest is for caches. */
const mostForWeights = 0.5;

/** One at least. A share of 0.07 of 100 is 7, and a little more in floating point. */
const wholeUsers = (count: number): number => Math.max(1, Math.ceil(count - 1e-6));

/** @param restores whether parked conversations come back without being evaluated again */
export function demandOf({users, context, turns}: Scenario, count: number, restores: boolean): Demand {
    const {active, parked} = users, returning = restores ? 0 : Math.min(turns.perDay, turns.returnsPerDay) * parked;
    return {
        decode: count * active * turns.outputRate,
        prefill: count * turns.peak / secondsPerDay * (turns.perDay * turns.tokens + returning * context.tokens),
        resident: wholeUsers(count * (active + (1 - active) * (1 - parked))), active: wholeUsers(count * active), peak: turns.peak
    };
}

/**
 * The fewest GPUs for a demand.
 * @param throughput of so many GPUs that work as one
 */
export function fleetFor(demand: Demand, bytes: CacheBytes, model: PlannedModel, machine: Machine, throughput: (gpus: number) => Throughput, leastSpeed: number): Fleet | Impossible {
    const room = machine.memory * machine.usable, needed = (sequences: number) => model.weightBytes + bytes.resident(sequences);
    if (needed(demand.resident) / room > mostGpus) return tooMany;
    const load = (gpus: number, groups: number) => loadOf(demand, throughput(gpus), groups, leastSpeed);
    if (machine.weights === "sharded") {
        const forMemory = Math.max(1, Math.ceil(needed(demand.resident) / room)), gpus = fewest(forMemory, (count) => fits(load(count, 1)));
        return gpus === null ? tooSlow(load(forMemory, 1), leastSpeed) : describe(gpus, 1, gpus === forMemory, needed(demand.resident) / (gpus * room), load(gpus, 1), demand.resident);
    }
    const least = Math.max(1, Math.ceil(needed(1) / room)), perGroup = machine.gpusPerGroup ?? Math.max(least, Math.ceil(model.weightBytes / (mostForWeights * room)));
    if (perGroup < least) return {reason: `${perGroup} GPUs of a group don't hold the weights and a conversation; ${least} do`};
    const forMemory = Math.ceil(demand.resident / largest(demand.resident, (sequences) => needed(sequences) <= perGroup * room));
    const groups = fewest(forMemory, (count) => fits(load(perGroup, count)));
    if (groups === null) return tooSlow(load(perGroup, forMemory), leastSpeed);
    const sequences = Math.ceil(demand.resident / groups);
    return describe(perGroup, groups, groups === forMemory, needed(sequences) / (perGroup * room), load(perGroup, groups), sequences);
}

/** Conversations that so many GPUs of a group have room for. */
export function mostSequences(bytes: CacheBytes, model: PlannedModel, {memory, usable}: Machine, gpus: number): number {
    return largest(1 << 30, (sequences) => model.weightBytes + bytes.resident(sequences) <= gpus * memory * usable);
}

interface Load {
    readonly decodeShare: number;
    readonly prefillShare: number;
    readonly batch: number;
    readonly busy: number;
    readonly meanBusy: number;
}

/** Of one of `groups` groups. */
function loadOf(demand: Demand, throughput: Throughput, groups: number, leastSpeed: number): Load {
    const batch = Math.min(throughput.mostAt(leastSpeed), Math.max(1, demand.active / groups)), decode = demand.decode / groups, prefillShare = demand.prefill / groups / throughput.prefill;
    const busy = (peak: number) => busyShare(throughput, decode / peak, prefillShare / peak, batch);
    return {decodeShare: decode / throughput.decode(batch), prefillShare, batch, busy: busy(1), meanBusy: busy(demand.peak)};
}

/** Decoding takes as many sequences at once as make so many tokens a second. Less than one is a share of the time. */
function busyShare(throughput: Throughput, rate: number, prefillShare: number, batch: number): number {
    if (batch === 0 || prefillShare >= 1) return 1;
    const left = 1 - prefillShare;
    let low = 0, high = batch;
    for (let step = 0; step < 40; step++) {
        const between = (low + high) / 2;
        if (throughput.decode(between) * left < rate) low = between;
        else high = between;
    }
    return prefillShare + left * Math.min(1, rate === 0 ? 0 : high);
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

function tooSlow({batch}: Load, leastSpeed: number): Impossible {
    return batch === 0 ? {reason: `no sequence gets ${leastSpeed} tokens a second`} : tooMany;
}

const tooMany: Impossible = {reason: `more than ${mostGpus.toLocaleString("en")} GPUs would be needed`};
