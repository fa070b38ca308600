export interface Estimate {
    mean: number;
    /** Standard error of the mean. Values are taken as independent. 0 for one value. */
    error: number;
}

export function estimate(values: ArrayLike<number>): Estimate {
    const count = values.length;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[i]!;
    const mean = sum / count;
    let squares = 0;
    for (let i = 0; i < count; i++) squares += (values[i]! - mean) ** 2;
    return {mean, error: count < 2 ? 0 : Math.sqrt(squares / (count - 1) / count)};
}

/** The mean's exponential. Of log-losses it is the perplexity, of their differences the ratio of two perplexities. */
export function exponentialEstimate(values: ArrayLike<number>): Estimate {
    const {mean, error} = estimate(values);
    return {mean: Math.exp(mean), error: Math.exp(mean) * error};
}

/** Interpolates linearly between the two nearest values. */
export function quantile(values: ArrayLike<number>, fraction: number): number {
    const sorted = Float64Array.from(values).sort(), at = (sorted.length - 1) * fraction, below = Math.floor(at);
    const low = sorted[below]!, high = sorted[Math.ceil(at)]!;
    return low === high ? low : low + (at - below) * (high - low);
}
