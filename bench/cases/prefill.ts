import type {OpenCache} from "../support/open-cache.js";
import {runRound} from "../support/round.js";

export const prefillTokens = 512;

/** Whoever takes longer than this is measured in the first round only. */
const patience = 15_000;

/** Milliseconds for 512 more tokens at this depth: one figure a round. */
export async function measurePrefill(open: OpenCache[], depth: number, rounds: number): Promise<number[][]> {
    const times = open.map((): number[] => []);
    for (let round = 0; round < rounds; round++) {
        const running = open.filter((_, index) => (times[index]![0] ?? 0) < patience);
        const tasks = running.map((cache) => ({
            name: cache.name, lead: () => cache.cut(depth), sample: () => cache.prefill(depth, depth + prefillTokens)
        }));
        for (const [index, latency] of (await runRound(tasks, 1, 1)).entries()) times[open.indexOf(running[index]!)]!.push(latency.mean);
    }
    return times;
}
