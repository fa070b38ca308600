import {formatBytes} from "../policy/bytes.js";
import type {Input} from "../plan/inputs.js";
import type {Claim} from "../plan/presets.js";
import type {Range} from "../plan/range.js";
import {isFleet, type CachePlan, type PlanReport} from "../plan/report.js";
import {formatTable} from "./output.js";

const mostSource = 70;

/** A plan for people. */
export function formatPlan({inputs, model, machine, caches, notes, claims}: PlanReport): string {
    const first = caches[0]!;
    const parts = [
        `${model.title}, ${formatBytes(model.weightBytes)} of weights, on ${machine}`,
        formatTable([
            ["cache", "one user", "less by", "at rest", "GPUs", "limit", "conversations a GPU", "J a token"], ...caches.map((cache) => memoryRow(cache, first))
        ]),
        formatTable([
            ["a year", "USD", "MWh", "t CO2e", "t CO2e of making", "m3 of water on site", "off site", `less than ${first.title} by`], ...caches.map(yearRow)
        ]),
        caches.flatMap(({title, impact}) => impact?.marketCarbonKg ? [`${title}: ${formatRange(impact.marketCarbonKg, 1000)} t CO2e a year by contracts (market-based)`] : []).join("\n"),
        ...caches.flatMap(({title, fleet}) => isFleet(fleet) ? [] : [`${title}: ${fleet.reason}`]),
        ...claims.length === 0 ? [] : ["What the paper says, and what follows from its own figures:", formatTable([["", "stated", "follows", "arithmetic"], ...claims.map(claimRow)]), ...remarksOn(claims)],
        ["Made with (all sources: --json):", ...inputs.map(inputLine)].join("\n"),
        notes.map((note) => `- ${note}`).join("\n")
    ];
    return parts.filter((part) => part !== "").join("\n\n");
}

function memoryRow(cache: CachePlan, first: CachePlan): string[] {
    const {title, bytesShared, bytesAtRest, fleet, sequencesPerGpu, joulesPerToken, measured} = cache;
    return [
        title, `${formatBytes(Math.round(bytesShared))}${measured ? " (measured)" : ""}`, `${(first.bytesShared / bytesShared).toFixed(2)}x`,
        formatBytes(Math.round(bytesAtRest)), isFleet(fleet) ? fleet.gpus.toLocaleString("en") : "none will do", isFleet(fleet) ? fleet.limit : "",
        sequencesPerGpu === null ? "" : sequencesPerGpu.toLocaleString("en"), joulesPerToken === null ? "" : joulesPerToken.toPrecision(2)
    ];
}

function yearRow({title, impact, saved}: CachePlan): string[] {
    if (impact === null) return [title];
    const {usd, kwh, carbonKg, embodiedKg, waterOnSite, waterOffSite} = impact;
    return [
        title, formatRange(usd), formatRange(kwh, 1000), formatRange(carbonKg, 1000), formatRange(embodiedKg, 1000), formatRange(waterOnSite, 1000), formatRange(waterOffSite, 1000),
        saved === null || saved.gpus === 0 ? "" : `${saved.gpus.toLocaleString("en")} ${saved.gpus === 1 ? "GPU" : "GPUs"}, ${round(saved.usd)} USD, ${round(saved.kwh / 1000)} MWh`
    ];
}

const claimRow = ({what, unit, stated, value, arithmetic, follows}: Claim & {follows: boolean}): string[] =>
    [what, `${round(stated)} ${unit}`, follows ? "yes" : `no: ${round(value)}`, arithmetic];

const remarksOn = (claims: readonly Claim[]): string[] =>
    [claims.flatMap(({what, remark}) => remark === undefined ? [] : [`- ${what}: ${remark}.`]).join("\n")];

function inputLine({name, value, unit, source}: Input): string {
    const text = source.length > mostSource ? `${source.slice(0, mostSource - 1)}…` : source;
    return `${name.padEnd(28)}${`${formatValue(value)} ${unit}`.trim().padEnd(44)} ${text}`;
}

function formatValue(value: number | string | Range): string {
    return typeof value === "object" ? formatRange(value) : typeof value === "string" ? value : round(value);
}

function formatRange({low, high}: Range, unit = 1): string {
    const [from, to] = [round(low / unit), round(high / unit)];
    return from === to ? from : `${from}–${to}`;
}

/** Three digits that count, or whole numbers. */
function round(value: number): string {
    return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}
