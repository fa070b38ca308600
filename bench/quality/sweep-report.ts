import {count, table, withError} from "../support/format.js";
import type {SweepPoint} from "./pareto.js";

/** bench/results/sweep-*.json. */
export interface SweepReport {
    /** Tokens of the sequence whose memory was measured. */
    tokens: number;
    points: SweepPoint[];
}

export function sweepTable({tokens, points}: SweepReport): string {
    const rows = points.map(({name, memoryRatio, kld, kldError}) => [name, `${memoryRatio.toFixed(2)}x`, withError(kld, kldError, 4)]);
    return table(["configuration", `less memory at ${count(tokens)} tokens by`, "KLD"], rows);
}
