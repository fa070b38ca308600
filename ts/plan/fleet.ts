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
    /** Conversations of a group that are in memory, and that it has room for. */
    readonly sequencesPerGroup: number;
    readonly roomPerGroup: number;
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

/** A demand, and what is to serve it. */
export interface Service {
    readonly demand: Demand;
    readonly bytes: CacheBytes;
    readonly model: PlannedModel;
    readonly machine: Machine;
    /** Of so many GPUs that work as one. */
    readonly throughput: (gpus: number) => Throughput;
    readonly leastSpeed: number;
}

/** The fewest GPUs for a demand. */
export function fleetFor(service: Service): Fleet | Impossible {
    if (needed(service, service.demand.resident) / roomOf(service.machine) > mostGpus) return tooMany;
    return service.machine.weights === "sharded" ? shardedFleet(service) : replicatedFleet(service);
}

const roomOf = ({memory, usable}: Machine): number => memory * usable;

const needed = ({model, bytes}: Service, sequences: number): number => model.weightBytes + bytes.resident(sequences);

/** Conversations that so many GPUs of a group have room for. */
const roomFor = (service: Service, gpus: number): number => largest(1 << 30, (sequences) => needed(service, sequences) <= gpus * roomOf(service.machine));

/** All GPUs are one group. */
function shardedFleet(service: Service): Fleet | Impossible {
    const {resident} = service.demand, all = needed(service, resident), room = roomOf(service.machine), forMemory = Math.max(1, Math.ceil(all / room));
    const gpus = fewest(forMemory, (count) => fits(loadOf(service, count, 1)));
    if (gpus === null) return tooSlow(service, forMemory);
    return describe(service, {gpusPerGroup: gpus, groups: 1, memoryShare: all / (gpus * room), sequencesPerGroup: resident}, gpus === forMemory);
}

/** Groups of equally many GPUs, of which each has the weights. */
function replicatedFleet(service: Service): Fleet | Impossible {
    const {demand: {resident}, model, machine} = service, room = roomOf(machine), least = Math.max(1, Math.ceil(needed(service, 1) / room));
    const gpusPerGroup = machine.gpusPerGroup ?? Math.max(least, Math.ceil(model.weightBytes / (mostForWeights * room)));
    if (gpusPerGroup < least) return {reason: `${gpusPerGroup} GPUs of a group don't hold the weights and a conversation; ${least} do`};
    const forMemory = Math.ceil(resident / roomFor(service, gpusPerGroup));
    const groups = fewest(forMemory, (count) => fits(loadOf(service, gpusPerGroup, count)));
    if (groups === null) return tooSlow(service, gpusPerGroup);
    const sequencesPerGroup = Math.ceil(resident / groups), memoryShare = needed(service, sequencesPerGroup) / (gpusPerGroup * room);
    return describe(service, {gpusPerGroup, groups, memoryShare, sequencesPerGroup}, groups === forMemory);
}

interface Load {
    readonly decodeShare: number;
    readonly prefillShare: number;
    readonly batch: number;
}

/** Of one of `groups` groups. */
function loadOf({demand, throughput: throughputOf, leastSpeed}: Service, gpusPerGroup: number, groups: number): Load {
    const throughput = throughputOf(gpusPerGroup), batch = Math.min(throughput.mostAt(leastSpeed), Math.max(1, demand.active / groups));
    return {decodeShare: demand.decode / groups / throughput.decode(batch), prefillShare: demand.prefill / groups / throughput.prefill, batch};
}

/**
 * The share of its time that a group works under a part of its load. It decodes for as many sequences at once as make so many tokens a second; less than one is
 * a share of the time.
 */
function busyShare(throughput: Throughput, {decodeShare, prefillShare, batch}: Load, part: number): number {
    const left = 1 - prefillShare * part, rate = decodeShare * throughput.decode(batch) * part;
    if (left <= 0) return 1;
    let low = 0, high = batch;
    for (let step = 0; step < 40; step++) {
        const between = (low + high) / 2;
        if (throughput.decode(between) * left < rate) low = between;
        else high = between;
    }
    return 1 - left + (rate === 0 ? 0 : left * Math.min(1, high));
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
function describe(service: Service, fleet: Pick<Fleet, "gpusPerGroup" | "groups" | "memoryShare" | "sequencesPerGroup">,
                  byMemory: boolean): Fleet {
    const load = loadOf(service, fleet.gpusPerGroup, fleet.groups), throughput = service.throughput(fleet.gpusPerGroup);
    const {decodeShare, prefillShare} = load, fullest = fleet.groups > 1 || fleet.memoryShare >= decodeShare + prefillShare;
    return {
        ...fleet, ...load, roomPerGroup: roomFor(service, fleet.gpusPerGroup), gpus: fleet.gpusPerGroup * fleet.groups, limit: byMemory && fullest ? "memory" : decodeShare >= prefillShare ? "decode" : "prefill",
        busy: busyShare(throughput, load, 1), meanBusy: busyShare(throughput, load, 1 / service.demand.peak)
    };
}

function tooSlow({throughput, leastSpeed}: Service, gpus: number): Impossible {
    return throughput(gpus).mostAt(leastSpeed) === 0 ? {reason: `no sequence gets ${leastSpeed} tokens a second`} : tooMany;
}

const tooMany: Impossible = {reason: `more than ${mostGpus.toLocaleString("en")} GPUs would be needed`};
