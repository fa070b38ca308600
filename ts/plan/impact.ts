import type {Fleet} from "./fleet.js";
import {product, sum, type Range} from "./range.js";
import type {Scenario} from "./scenario.js";

/** What a fleet takes in a year. */
export interface Impact {
    readonly servers: number;
    readonly diskBytes: number;
    /** GPUs by the hour, and disks. */
    readonly usd: Range;
    /** Of the facility. GPUs that wait draw power, too. */
    readonly kwh: Range;
    /** Of the electricity, location-based. */
    readonly carbonKg: Range;
    /** The same, market-based. Null if its factor isn't given. */
    readonly marketCarbonKg: Range | null;
    /** Of making the machines, spread over their lifetime. */
    readonly embodiedKg: Range;
    readonly waterOnSite: Range;
    readonly waterOffSite: Range;
}

const hoursPerYear = 8760;

/** @param atRest bytes of a conversation on disk; 0 where none is kept */
export function impactOf(fleet: Fleet, atRest: number, count: number, scenario: Scenario): Impact {
    const {machine, region, disk} = scenario, {gpus, meanBusy: busy} = fleet, servers = Math.ceil(gpus / machine.gpusPerServer);
    const gpuWatts = sum(product(machine.idleWatts, 1 - busy), machine.watts * busy), hours = hoursPerYear / 1000;
    const machineKwh = product(gpus * hours, sum(gpuWatts, machine.serverWatts)), kwh = product(machineKwh, region.pue);
    const stored = count * disk.conversationsPerDay * disk.days * atRest;
    return {
        servers, diskBytes: stored, usd: sum(product(gpus * hoursPerYear, machine.usdPerHour), product(12 * stored / 1e9, disk.usdPerGbMonth)),
        kwh, carbonKg: product(kwh, region.gridKgPerKwh), marketCarbonKg: region.marketKgPerKwh === null ? null : product(kwh, region.marketKgPerKwh),
        embodiedKg: product(1 / machine.lifetimeYears, sum(product(gpus, machine.embodiedKg), product(servers, machine.serverEmbodiedKg))),
        waterOnSite: product(machineKwh, region.waterOnSite), waterOffSite: product(kwh, region.waterOffSite)
    };
}
