import type {Token} from "node-llama-cpp";

/** Milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
    const start = performance.now();
    await work();
    return performance.now() - start;
}

/** Of each token that is generated until `enough`, which gets the number of those so far. */
export async function tokenTimes(generation: AsyncGenerator<Token>, enough: (done: number) => boolean): Promise<number[]> {
    const times: number[] = [];
    while (!enough(times.length)) times.push(await timed(() => generation.next()));
    return times;
}

/** Of each token that is generated until `work` is done, and of the work. */
export async function tokenTimesDuring(generation: AsyncGenerator<Token>, work: () => Promise<unknown>): Promise<{tokens: number[]; work: number}> {
    let isDone = false;
    const working = timed(work).finally(() => { isDone = true; });
    working.catch(() => undefined);  // awaited below, unless something else ends this first
    const tokens = await tokenTimes(generation, () => isDone);
    return {tokens, work: await working};
}

export const mean = (times: readonly number[]) => times.reduce((sum, time) => sum + time, 0) / times.length;
