/** Bounds of a figure that isn't known better. */
export interface Range {
    readonly low: number;
    readonly high: number;
}

export const rangeOf = (value: number | Range): Range => typeof value === "number" ? {low: value, high: value} : value;

/** Of figures that are not negative. */
export function product(...factors: readonly (number | Range)[]): Range {
    return factors.map(rangeOf).reduce((all, factor) => ({low: all.low * factor.low, high: all.high * factor.high}), rangeOf(1));
}

export function sum(...terms: readonly (number | Range)[]): Range {
    return terms.map(rangeOf).reduce((all, term) => ({low: all.low + term.low, high: all.high + term.high}), rangeOf(0));
}

/** The middle of a range. */
export const middle = ({low, high}: Range): number => (low + high) / 2;
