import type {OpenCache} from "../support/open-cache.js";
import {runRounds, type Effort} from "../support/rounds.js";

export const prefillTokens = 512;

/**
 * Milliseconds for 512 more tokens at this depth: one figure a round.
 * @param back brings a cache to the depth
 */
export async function measurePrefill(open: OpenCache[], depth: number, effort: Effort, back: (cache: OpenCache) => Promise<void>): Promise<number[][]> {
    const tasks = open.map((cache) => ({
        name: cache.name, lead: () => back(cache), sample: () => cache.prefill(depth, depth + prefillTokens)
    }));
    return (await runRounds(tasks, effort, 1, 1)).map((latencies) => latencies.map(({mean}) => mean));
}
