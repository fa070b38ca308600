import type {Fact} from "../ts/plan/facts.js";
import type {Range} from "../ts/plan/range.js";
import {count, mib, percent, table} from "./support/format.js";
import {dist} from "./support/package.js";

const {follows, presetNames, readPreset} = await dist("plan/presets.js"), facts = await dist("plan/facts.js");

/** Of each cache. */
export type PlanSummary = {
    title: string; bytes: number; gpus: number | null; limit: string | null; usd: Range | null; kwh: Range | null; carbonKg: Range | null;
}[];

/** bench/results/plan.json. */
export interface PlanResults {
    /** The table's. */
    fleet: PlanSummary;
    presets: Record<string, PlanSummary>;
    /** Of an 8B model on an H100, 64 sequences at once. */
    joulesPerToken: number;
}

/** bench/results/plan-bytes.json has one for each tier, length, number of sequences and shared part. */
export interface PlanBytes {
    tier: string;
    tokens: number;
    sequences: number;
    sharedTokens: number;
    planned: number;
    resident: number;
}

const short = (value: number) => value >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(3)));
const millions = ({low, high}: Range) => `${(low / 1e6).toFixed(2)} to ${(high / 1e6).toFixed(2)}`;
const range = (value: number | Range, unit = 1) => typeof value === "number" ? short(value / unit)
    : value.low === value.high ? short(value.low / unit) : `${short(value.low / unit)} to ${short(value.high / unit)}`;

/** By the name of their place in docs/plan.md. */
export function planTables({fleet, presets}: PlanResults): Record<string, string> {
    const claims = presetNames().flatMap((name) => readPreset(name).claims.map((claim) => [name, claim] as const)), planned = Object.entries(presets);
    const gpusOf = ({gpus}: PlanSummary[number]) => gpus === null ? "none will do" : count(gpus);
    return {
        plan: table(["cache", "one user", "GPUs", "limit", "million USD a year", "MWh a year", "t CO2e a year"], fleet.map((cache) => {
            const {title, bytes, limit, usd, kwh, carbonKg} = cache;
            return [title, mib(bytes), gpusOf(cache), limit ?? "", usd === null ? "" : millions(usd), kwh === null ? "" : range(kwh, 1000), carbonKg === null ? "" : range(carbonKg, 1000)];
        })),
        "plan-presets": table(["preset", "of", ...planned[0]![1].map(({title}) => `GPUs, ${title}`), "limit"], planned.map(([name, caches]) =>
            [name, readPreset(name).title, ...caches.map(gpusOf), caches.map(({limit}) => limit ?? "").join(", ")])),
        "plan-claims": table(["preset", "the paper says", "stated", "follows", "arithmetic"], claims.map(([name, claim]) => {
            const {what, unit, stated, value, arithmetic} = claim;
            return [name, what, `${short(stated)} ${unit}`, follows(claim) ? "yes" : `no: ${short(value)}`, `\`${arithmetic}\``];
        })),
        "plan-remarks": [...new Set(claims.flatMap(([, {what, remark}]) => remark === undefined ? [] : [`- ${what}: ${remark}.`]))].join("\n"),
        "plan-machines": table(["machine", "GB", "TB/s", "TFLOP/s", "W", "idle W", "USD an hour", "sources and dates"], Object.entries(facts.machines()).map(([name, machine]) => {
            const {memory, bandwidth, flops, watts, idleWatts} = machine, prices = machine.prices.map(({value}) => value);
            return [name, range(memory.value, 1e9), range(bandwidth.value, 1e12), range(flops.value, 1e12), range(watts.value), range(idleWatts.value),
                range({low: Math.min(...prices), high: Math.max(...prices)}), sources([bandwidth, idleWatts, ...machine.prices])];
        })),
        "plan-regions": table(["region", "", "kg CO2e a kWh", "litres a kWh off site", "sources and dates"], Object.entries(facts.regions()).map(([name, {title, gridKgPerKwh, waterOffSite}]) =>
            [name, title, range(gridKgPerKwh.value), range(waterOffSite.value), sources([gridKgPerKwh, waterOffSite])])),
        "plan-facilities": table(["facility", "", "PUE", "litres a kWh on site", "sources and dates"], Object.entries(facts.facilities()).map(([name, {title, pue, waterOnSite}]) =>
            [name, title, range(pue.value), range(waterOnSite.value), sources([pue, waterOnSite])])),
        "plan-shapes": table(["shape", "parameters, billions", "source"],
            Object.entries(facts.shapes()).map(([name, {parameters, source, date}]) => [name, range(parameters, 1e9), `${source} (${date})`]))
    };
}

/** Whose figures they are. */
function sources(all: readonly Fact<unknown>[]): string {
    return [...new Set(all.map(({source, date}) => `${source} (${date})`))].join("; ");
}

/** For each tier the largest part that a plan is off by, over lengths and shared parts; below it, of how many cases. */
export function planBytesTable(points: readonly PlanBytes[]): string {
    const counts = [...new Set(points.map(({sequences}) => sequences))], off = ({planned, resident}: PlanBytes) => Math.abs(planned / resident - 1);
    const rows = [...new Set(points.map(({tier}) => tier))].map((tier) => [
        tier, ...counts.map((sequences) => percent(Math.max(...points.filter((point) => point.tier === tier && point.sequences === sequences).map(off))))
    ]);
    const within = points.filter((point) => off(point) <= 0.02).length, lengths = [...new Set(points.map(({tokens}) => count(tokens)))];
    return `${table(["off by at most", ...counts.map((sequences) => sequences === 1 ? "1 sequence" : `${sequences} sequences`)], rows)}\n\n` +
        `${within} of ${points.length} cases are within 2%: sequences of ${lengths.join(", ")} tokens, with nothing shared and with three quarters.`;
}
