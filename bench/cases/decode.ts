import type {OpenCache} from "../support/open-cache.js";
import {runRounds, type Effort} from "../support/rounds.js";
import {quantile} from "../support/statistics.js";

/** Tokens of a cache that are measured in a round, and those of them in one turn. A turn begins with one more, which is not measured. */
const measured = 24, perTurn = 3;

export const decodeTokens = (rounds: number) => rounds * measured * (perTurn + 1) / perTurn;

/** Milliseconds of a step, which decodes a token of every sequence: one figure a round. */
export interface DecodeTimes {
    /** The lower decile: what a step takes when nothing else runs on the machine's cores. */
    undisturbed: number[];
    median: number[];
}

/** Every sequence goes on token by token, from round to round. */
export async function measureDecode(open: OpenCache[], depth: number, effort: Effort): Promise<DecodeTimes[]> {
    const tasks = open.map((cache) => {
        let position = depth;
        const next = () => cache.decode(position++);
        return {name: cache.name, lead: next, sample: next};
    });
    return (await runRounds(tasks, effort, measured, perTurn)).map((latencies) => ({
        undisturbed: latencies.map(({samples}) => quantile(samples!, 0.1)),
        median: latencies.map(({p50}) => p50)
    }));
}
