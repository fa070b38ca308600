/** Linear between the two values that it falls between. */
export function quantile(values: readonly number[], fraction: number): number {
    const sorted = [...values].sort((a, b) => a - b), at = (sorted.length - 1) * fraction, below = Math.floor(at);
    return sorted[below]! + (at - below) * (sorted[Math.ceil(at)]! - sorted[below]!);
}

export const median = (values: readonly number[]) => quantile(values, 0.5);
