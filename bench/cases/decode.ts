import type {OpenCache} from "../support/open-cache.js";
import {runRounds, type Effort} from "../support/rounds.js";
import {quantile} from "../support/statistics.js";

/** Tokens a round that are measured, and that a cache evaluates in one turn after one that is not. */
const measured = 24, perTurn = 3;

export const decodeTokens = (rounds: number) => rounds * measured * (perTurn + 1) / perTurn;

/** Milliseconds that a token (of every sequence) took: one figure a round. */
export interface DecodeTimes {
    /** The lower decile: what a token takes when nothing else ran on the machine's cores. */
    undisturbed: number[];
    median: number[];
}

/** Every sequence goes on by a token at a time; all rounds follow on each other. */
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
