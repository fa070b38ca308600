import {Bench, type Statistics} from "tinybench";

export interface RoundTask {
    name: string;
    /** Before every turn; not measured. */
    lead?(): Promise<void> | void;
    sample(): Promise<void>;
}

export interface Effort {
    rounds: number;
    /** Rounds after the first don't start later than this, on `performance.now()`'s clock. */
    until: number;
}

/** A task that takes longer than this in the first round is left out of the others. In milliseconds. */
const patience = 25_000;

/** Statistics of every task, round by round. */
export async function runRounds(tasks: RoundTask[], {rounds, until}: Effort, samples: number, perTurn: number): Promise<Statistics[][]> {
    const results = tasks.map((): Statistics[] => []);
    for (let round = 0; round < rounds && (round === 0 || performance.now() < until); round++) {
        const running = tasks.filter((_, index) => (results[index]![0]?.mean ?? 0) * samples < patience);
        for (const [index, latency] of (await runRound(running, samples, perTurn)).entries())
            results[tasks.indexOf(running[index]!)]!.push(latency);
    }
    return results;
}

/**
 * One round: so many samples of every task, in turns of `perTurn` samples. tinybench runs tasks one after the other or at the same time, but
 * not in turns. So they run at the same time here, and each waits for its turn outside of what is measured.
 */
async function runRound(tasks: RoundTask[], samples: number, perTurn: number): Promise<Statistics[]> {
    const bench = new Bench({concurrency: "bench", iterations: samples, time: 0, warmup: false, retainSamples: true, throws: true});
    const waiting: (() => void)[] = [];
    let turn = 0;
    for (const [index, task] of tasks.entries()) {
        let taken = 0;
        bench.add(task.name, () => task.sample(), {
            async: true,
            async beforeEach() {
                if (taken % perTurn !== 0) return;
                if (turn !== index) await new Promise<void>((resolve) => { waiting[index] = resolve; });
                await task.lead?.();
            },
            afterEach() {
                if (++taken % perTurn !== 0) return;
                turn = (index + 1) % tasks.length;
                waiting[turn]?.();
            }
        });
    }
    await bench.run();
    return bench.results.map((result) => {
        if (result.state !== "completed") throw new Error(`A bench task is ${result.state}`);
        return result.latency;
    });
}
