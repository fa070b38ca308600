/** An app may take so long from one token of an answer to the next. Seconds. */
export const betweenTokens = 0.1;

/** Evaluations under way in this process, on packed contexts of all stores. */
let underWay = 0;
/** When the last one ended. Milliseconds. */
let ended = -Infinity;

/** Counts `work` as an evaluation. */
export async function evaluating<R>(work: () => Promise<R>): Promise<R> {
    underWay++;
    try {
        return await work();
    } finally {
        underWay--;
        ended = performance.now();
    }
}

/** Whether any context of this process evaluates something, or did just now. */
export const isEvaluating = (): boolean => underWay > 0 || performance.now() - ended < 1000 * betweenTokens;
