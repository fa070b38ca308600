import type {OpenCache} from "../support/open-cache.js";
import {runRound} from "../support/round.js";
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
export async function measureDecode(open: OpenCache[], depth: number, rounds: number): Promise<DecodeTimes[]> {
    const times = open.map((): DecodeTimes => ({undisturbed: [], median: []}));
    const tasks = open.map((cache) => {
        let position = depth;
        const next = () => cache.decode(position++);
        return {name: cache.name, lead: next, sample: next};
    });
    for (let round = 0; round < rounds; round++) {
        for (const [index, latency] of (await runRound(tasks, measured, perTurn)).entries()) {
            times[index]!.undisturbed.push(quantile(latency.samples!, 0.1));
            times[index]!.median.push(latency.p50);
        }
    }
    return times;
}
