import {readdirSync, readFileSync} from "node:fs";
import path from "node:path";
import type {FacilityFacts, Fact, MachineFacts, RegionFacts, ShapeFacts} from "../ts/plan/facts.js";
import type {Preset} from "../ts/plan/presets.js";
import type {Range} from "../ts/plan/range.js";
import {count, mib, table} from "./support/format.js";
import {dist, root} from "./support/package.js";

const {follows} = await dist("plan/presets.js");

/** bench/results/plan.json has one of the table's scenario, and one of each preset. */
export interface PlanSummary {
    preset: string | null;
    users: number;
    caches: {
        title: string; bytes: number; bytesAtRest: number; gpus: number | null; limit: string | null; usd: Range | null; kwh: Range | null; carbonKg: Range | null;
    }[];
}

const from = (folder: string, file: string): unknown => JSON.parse(readFileSync(path.join(root, "ts/plan", folder, file), "utf8"));
const facts = <Facts>(name: string) => Object.entries(from("facts", `${name}.json`) as Record<string, Facts>);
const presets = () => readdirSync(path.join(root, "ts/plan/presets")).sort().map((file) => [path.basename(file, ".json"), from("presets", file) as Preset] as const);

const short = (value: number) => value >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(3)));
const millions = ({low, high}: Range) => `${(low / 1e6).toFixed(2)} to ${(high / 1e6).toFixed(2)}`;
const range = (value: number | Range, unit = 1) => typeof value === "number" ? short(value / unit)
    : value.low === value.high ? short(value.low / unit) : `${short(value.low / unit)} to ${short(value.high / unit)}`;

/** By the name of their place in docs/plan.md. */
export function planTables(report: readonly PlanSummary[]): Record<string, string> {
    const own = report.find(({preset}) => preset === null)!;
    return {
        plan: table(["cache", "one user", "GPUs", "limit", "million USD a year", "MWh a year", "t CO2e a year"],
            own.caches.map(({title, bytes, gpus, limit, usd, kwh, carbonKg}) => [
                title, mib(bytes), gpus === null ? "" : count(gpus), limit ?? "", usd === null ? "" : millions(usd), kwh === null ? "" : range(kwh, 1000), carbonKg === null ? "" : range(carbonKg, 1000)
            ])),
        "plan-presets": table(["preset", "users", ...report[1]!.caches.map(({title}) => `GPUs, ${title}`), "limit"],
            report.filter(({preset}) => preset !== null).map(({preset, users, caches}) =>
                [preset!, count(users), ...caches.map(({gpus}) => gpus === null ? "none will do" : count(gpus)), caches.map(({limit}) => limit ?? "").join(", ")])),
        "plan-claims": table(["preset", "the paper says", "stated", "follows", "arithmetic"], presets().flatMap(([name, {claims}]) => claims.map(({what, unit, stated, value, arithmetic}) =>
            [name, what, `${short(stated)} ${unit}`, follows({what, unit, stated, value, arithmetic}) ? "yes" : `no: ${short(value)}`, `\`${arithmetic}\``]))),
        "plan-remarks": [...new Set(presets().flatMap(([, {claims}]) => claims.flatMap(({what, remark}) => remark === undefined ? [] : [`- ${what}: ${remark}.`])))].join("\n"),
        "plan-machines": table(["machine", "GB", "TB/s", "TFLOP/s", "W", "idle W", "USD an hour", "sources and dates"], facts<MachineFacts>("machines").map(([name, machine]) => {
            const prices = machine.prices.map(({value}) => value);
            return [name, range(machine.memory.value, 1e9), range(machine.bandwidth.value, 1e12), range(machine.flops.value, 1e12), range(machine.watts.value), range(machine.idleWatts.value),
                range({low: Math.min(...prices), high: Math.max(...prices)}), sources([machine.bandwidth, machine.idleWatts, ...machine.prices])];
        })),
        "plan-regions": table(["region", "kg CO2e a kWh", "litres a kWh off site", "sources and dates"], facts<RegionFacts>("regions").map(([name, region]) =>
            [name, range(region.gridKgPerKwh.value), range(region.waterOffSite.value), sources([region.gridKgPerKwh, region.waterOffSite])])),
        "plan-facilities": table(["facility", "PUE", "litres a kWh on site", "sources and dates"], facts<FacilityFacts>("facilities").map(([name, facility]) =>
            [name, range(facility.pue.value), range(facility.waterOnSite.value), sources([facility.pue, facility.waterOnSite])])),
        "plan-shapes": table(["shape", "parameters, billions", "source"], facts<ShapeFacts>("models").map(([name, {parameters, source, date}]) => [name, range(parameters, 1e9), `${source} (${date})`]))
    };
}

/** Whose figures they are. */
function sources(all: readonly Fact<unknown>[]): string {
    return [...new Set(all.map(({source, date}) => `${source} (${date})`))].join("; ");
}
