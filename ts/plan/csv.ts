import type {Range} from "./range.js";
import {isFleet, type CachePlan, type PlanReport} from "./report.js";

type Cell = string | number | null;

const columns: readonly (readonly [string, (cache: CachePlan) => Cell])[] = [
    ["cache", ({name}) => name],
    ["bytes_of_a_conversation", ({bytes}) => bytes],
    ["bytes_with_shared_beginnings", ({bytesShared}) => bytesShared],
    ["measured", ({measured}) => String(measured)],
    ["bytes_at_rest", ({bytesAtRest}) => bytesAtRest],
    ["gpus", ({fleet}) => isFleet(fleet) ? fleet.gpus : null],
    ["limit", ({fleet}) => isFleet(fleet) ? fleet.limit : "none will do"],
    ["memory_share", ({fleet}) => isFleet(fleet) ? fleet.memoryShare : null],
    ["decode_share", ({fleet}) => isFleet(fleet) ? fleet.decodeShare : null],
    ["prefill_share", ({fleet}) => isFleet(fleet) ? fleet.prefillShare : null],
    ["joules_per_token", ({joulesPerToken}) => joulesPerToken],
    ["servers", ({impact}) => impact?.servers ?? null],
    ["disk_bytes", ({impact}) => impact?.diskBytes ?? null],
    ...bounds("usd", ({impact}) => impact?.usd), ...bounds("kwh", ({impact}) => impact?.kwh), ...bounds("carbon_kg", ({impact}) => impact?.carbonKg),
    ...bounds("market_carbon_kg", ({impact}) => impact?.marketCarbonKg), ...bounds("embodied_kg", ({impact}) => impact?.embodiedKg),
    ...bounds("water_on_site_l", ({impact}) => impact?.waterOnSite), ...bounds("water_off_site_l", ({impact}) => impact?.waterOffSite)
];

function bounds(name: string, range: (cache: CachePlan) => Range | null | undefined): [string, (cache: CachePlan) => Cell][] {
    return [[`${name}_low`, (cache) => range(cache)?.low ?? null], [`${name}_high`, (cache) => range(cache)?.high ?? null]];
}

/** A line a cache (RFC 4180). All yearly figures are of the whole fleet. */
export function planCsv({caches}: PlanReport): string {
    const rows = [columns.map(([name]) => name), ...caches.map((cache) => columns.map(([, cell]) => quote(cell(cache))))];
    return rows.map((row) => row.join(",")).join("\r\n") + "\r\n";
}

function quote(cell: Cell): string {
    const text = cell === null ? "" : String(cell);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text;
}
