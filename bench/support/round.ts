import {Bench, type Statistics} from "tinybench";

export interface RoundTask {
    name: string;
    /** Before every turn; not measured. */
    lead?(): Promise<void> | void;
    sample(): Promise<void>;
}

/**
 * One round: so many samples of every task, in turns of `perTurn` samples each. tinybench runs the tasks of a bench after each other
 * or at the same time; here they run at the same time and each waits, outside of what is measured, for its turn.
 */
export async function runRound(tasks: RoundTask[], samples: number, perTurn: number): Promise<Statistics[]> {
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
