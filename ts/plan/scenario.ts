import type {ModelShape} from "../engine/native.js";
import {parseBytes} from "../policy/bytes.js";
import {loadPolicy} from "../policy/load.js";
import {builtInTiers, type Tier} from "../policy/tiers.js";
import {facilities, machines, regions, type Fact} from "./facts.js";
import {Inputs, type Input, type Layer} from "./inputs.js";
import {rangeOf, type Range} from "./range.js";

/** What a model has to do with memory and speed. */
export interface PlannedModel {
    readonly title: string;
    readonly shape: ModelShape;
    readonly parameters: number;
    readonly activeParameters: number;
    readonly trainedTokens: number;
    readonly weightBytes: number;
    /** Of the file that it was read from, to be loaded by `--measure`. Null for a shape by name. */
    readonly path: string | null;
}

/** Of one machine, in tokens a second. */
export interface Speed {
    /** Of so many sequences together. */
    readonly decode: readonly {readonly sequences: number; readonly speed: number}[];
    readonly prefill?: number | undefined;
}

export interface Machine {
    readonly title: string;
    readonly memory: number;
    readonly usable: number;
    readonly weights: "replicated" | "sharded";
    /** That hold replicated weights together. Null for as many as leave half of their room to caches. */
    readonly gpusPerGroup: number | null;
    readonly bandwidth: number;
    readonly flops: number;
    readonly bandwidthReached: number;
    readonly flopsReached: number;
    readonly watts: number;
    readonly idleWatts: Range;
    readonly serverWatts: Range;
    readonly gpusPerServer: number;
    /** A server without GPUs. */
    readonly isProcessor: boolean;
    readonly embodiedKg: Range;
    readonly serverEmbodiedKg: Range;
    readonly lifetimeYears: number;
    readonly usdPerHour: Range;
}

export interface Region {
    readonly gridKgPerKwh: Range;
    readonly marketKgPerKwh: Range | null;
    readonly pue: Range;
    readonly waterOnSite: Range;
    readonly waterOffSite: Range;
}

/** All that a plan is computed from, but for the model and measured speeds. */
export interface Scenario {
    readonly users: {readonly count: number; readonly active: number; readonly parked: number};
    readonly context: {readonly tokens: number; readonly sharedTokens: number; readonly groups: number};
    readonly turns: {
        readonly tokens: number; readonly perDay: number; readonly returnsPerDay: number; readonly outputRate: number; readonly leastSpeed: number;
        readonly peak: number;
    };
    readonly disk: {readonly conversationsPerDay: number; readonly days: number; readonly usdPerGbMonth: Range};
    /** Names of `stockCaches` or of `tiers`. The first one is what others are compared with. */
    readonly caches: readonly string[];
    /** Where tiers are from. Undefined for the built-in ones alone. */
    readonly policy: string | undefined;
    readonly tiers: ReadonlyMap<string, Tier>;
    readonly machine: Machine;
    readonly region: Region;
    readonly inputs: readonly Input[];
}

/** node-llama-cpp's own caches, by bytes of 32 elements of a row. */
export const stockCaches: Readonly<Record<string, {readonly title: string; readonly blockBytes: number}>> = {
    "stock-f16": {title: "stock F16", blockBytes: 64}, "stock-q8_0": {title: "stock Q8_0", blockBytes: 34}, "stock-q4_0": {title: "stock Q4_0", blockBytes: 18}
};

export const isStock = (cache: string): boolean => Object.hasOwn(stockCaches, cache);

const defaultCaches = [...Object.keys(stockCaches), ...builtInTiers.keys()];
const diskPrice: Fact<Range> = {value: {low: 0.023, high: 0.08}, source: "AWS, S3 Standard and EBS gp3 in us-east-1", date: "2025"};

/** 16.06 GB of weights in 7.9 ms; caches aren't counted. */
const bandwidthSource = "ML.ENERGY leaderboard v3, Llama 3.1 8B on H100, 16 sequences (2025-12)";

const cited = ({source, date}: Fact<unknown>): string => `${source} (${date})`;

/**
 * Fills in what the layers leave out. They were checked, names among them.
 * @param layers the ones that count most first
 */
export function completeScenario(layers: readonly Layer[]): Scenario {
    const inputs = new Inputs(layers);
    const policy = inputs.find<string>("policy")?.value, {tiers} = loadPolicy(policy);
    const users = {
        count: inputs.take("users.count", "users", 1000), active: inputs.take("users.active", "share of users", 0.2),
        parked: inputs.take("users.parked", "share of the others", 1)
    };
    const context = {
        tokens: inputs.take("context.tokens", "tokens", 4096), sharedTokens: inputs.take("context.sharedTokens", "tokens", 0),
        groups: inputs.take("context.groups", "groups", 1)
    };
    const turns = {
        tokens: inputs.take("turns.tokens", "tokens", 100), perDay: inputs.take("turns.perDay", "turns a user and day", 20),
        returnsPerDay: inputs.take("turns.returnsPerDay", "turns a user and day", 2),
        outputRate: inputs.take("turns.outputRate", "tokens/s an active user", 1), leastSpeed: inputs.take("turns.leastSpeed", "tokens/s a sequence", 10),
        peak: inputs.take("turns.peak", "times the mean", 3)
    };
    const disk = {
        conversationsPerDay: inputs.take("disk.conversationsPerDay", "conversations a user and day", 1), days: inputs.take("disk.days", "days", 30),
        usdPerGbMonth: rangeOf(inputs.take<number | Range>("disk.usdPerGbMonth", "USD a GB and month", diskPrice.value, cited(diskPrice)))
    };
    return {
        users, context, turns, disk, caches: inputs.find<string[]>("caches")?.value ?? defaultCaches, policy, tiers,
        machine: completeMachine(inputs), region: completeRegion(inputs), inputs: inputs.list
    };
}

function completeMachine(inputs: Inputs): Machine {
    const facts = machines()[inputs.take("machine.name", "", "h100")]!;
    const take = <Value extends number | Range>(field: string, unit: string, fact: Fact<Value>) =>
        inputs.take<number | Range>(`machine.${field}`, unit, fact.value, cited(fact));
    const memory = inputs.take<number | string>("machine.memory", "bytes", facts.memory.value, cited(facts.memory));
    const number = (field: string, unit: string, fact: Fact) => take(field, unit, fact) as number;
    return {
        title: facts.title, memory: typeof memory === "string" ? parseBytes(memory)! : memory,
        usable: inputs.take("machine.usable", "share of the memory", 0.9, "vLLM's default of gpu_memory_utilization (2025)"),
        weights: inputs.take("machine.weights", "", "replicated"), gpusPerGroup: groupOf(inputs),
        bandwidth: number("bandwidth", "bytes/s", facts.bandwidth), flops: number("flops", "operations/s", facts.flops),
        bandwidthReached: inputs.take("machine.bandwidthReached", "share of the bandwidth", 0.6, bandwidthSource),
        flopsReached: inputs.take("machine.flopsReached", "share of the operations", 0.5),
        watts: number("watts", "W", facts.watts), idleWatts: rangeOf(take("idleWatts", "W", facts.idleWatts)),
        serverWatts: rangeOf(take("serverWatts", "W a GPU", facts.serverWatts)), gpusPerServer: facts.gpusPerServer.value, isProcessor: facts.processor === true,
        embodiedKg: rangeOf(take("embodiedKg", "kg CO2e", facts.embodiedKg)), serverEmbodiedKg: rangeOf(take("serverEmbodiedKg", "kg CO2e", facts.serverEmbodiedKg)),
        lifetimeYears: inputs.take("machine.lifetimeYears", "years", 5), usdPerHour: priceOf(inputs, facts.prices)
    };
}

function groupOf(inputs: Inputs): number | null {
    const given = inputs.find<number>("machine.gpusPerGroup");
    return given === undefined ? null : inputs.take("machine.gpusPerGroup", "GPUs", given.value);
}

function priceOf(inputs: Inputs, prices: readonly (Fact & {provider: string; kind: string})[]): Range {
    const provider = inputs.find<string>("machine.provider");
    const of = provider === undefined ? prices : prices.filter((price) => price.provider === provider.value);
    const values = of.map(({value}) => value), sources = [...new Set(of.map(({provider: name, kind, date}) => `${name}, ${kind} (${date})`))];
    return rangeOf(inputs.take<number | Range>("machine.usdPerHour", "USD a GPU-hour", {low: Math.min(...values), high: Math.max(...values)}, sources.join("; ")));
}

function completeRegion(inputs: Inputs): Region {
    const region = regions()[inputs.take("region.name", "", "us")]!;
    const facility = facilities()[inputs.take("region.facility", "", "typical")]!;
    const take = (field: string, unit: string, fact: Fact<Range>) => rangeOf(inputs.take<number | Range>(`region.${field}`, unit, fact.value, cited(fact)));
    const market = inputs.find<number | Range>("region.marketKgPerKwh");
    return {
        gridKgPerKwh: take("gridKgPerKwh", "kg CO2e a kWh", region.gridKgPerKwh), pue: take("pue", "", facility.pue),
        waterOnSite: take("waterOnSite", "L a kWh of the machines", facility.waterOnSite), waterOffSite: take("waterOffSite", "L a kWh", region.waterOffSite),
        marketKgPerKwh: market === undefined ? null : rangeOf(inputs.take("region.marketKgPerKwh", "kg CO2e a kWh", market.value))
    };
}
