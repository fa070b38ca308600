import {average, sinks} from "./rows.js";

/** The newest rows were seen by few queries, and no tier drops them. */
const window = 64;
/** Of the rows: those that `ultra` keeps. */
export const topShare = 0.3;

export interface SharedImportance {
    /** Of the ranks of rows, by two layers. */
    rankCorrelation: number;
    leastRankCorrelation: number;
    /** Share of one's top rows that are another's, too. */
    overlap: number;
    /** Share of the attention that is the top rows': by one's own order, by another's, by the order of all together. */
    attention: {own: number; other: number; all: number};
    /** The least share, by the order of all, of what it is by its own. */
    worst: number;
}

/** @param attention of each layer and head, as `receivedAttention` gives it */
export function sharedImportance(attention: readonly (readonly Float64Array[])[]): {layers: SharedImportance; heads: SharedImportance} {
    const inner = attention.map((heads) => heads.map((head) => head.slice(sinks, -window)));
    const together = inner.map((heads) => heads[0]!.map((_, row) => heads.reduce((sum, head) => sum + head[row]!, 0)));
    return {layers: importanceOf(together), heads: importanceOf(inner.flat())};
}

function importanceOf(received: readonly Float64Array[]): SharedImportance {
    const shares = received.map(sharesOf), ranks = shares.map(ranksOf), tops = ranks.map(topOf);
    const all = topOf(ranksOf(shares[0]!.map((_, row) => shares.reduce((sum, each) => sum + each[row]!, 0))));
    const pairs = shares.flatMap((_, i) => shares.flatMap((_, j) => i === j ? [] : [[i, j] as const]));
    const correlations = pairs.map(([i, j]) => correlation(ranks[i]!, ranks[j]!));
    const own = shares.map((each, i) => within(each, tops[i]!)), byAll = shares.map((each) => within(each, all));
    return {
        rankCorrelation: average(correlations), leastRankCorrelation: Math.min(...correlations),
        overlap: average(pairs.map(([i, j]) => [...tops[i]!].filter((row) => tops[j]!.has(row)).length / tops[i]!.size)),
        attention: {own: average(own), other: average(pairs.map(([i, j]) => within(shares[i]!, tops[j]!))), all: average(byAll)},
        worst: Math.min(...byAll.map((share, i) => share / own[i]!))
    };
}

/** Parts of a whole of 1. */
function sharesOf(values: Float64Array): Float64Array {
    const whole = values.reduce((sum, value) => sum + value, 0);
    return values.map((value) => value / whole);
}

function ranksOf(values: Float64Array): Float64Array {
    const order = Array.from(values.keys()).sort((a, b) => values[a]! - values[b]!), ranks = new Float64Array(values.length);
    for (const [rank, row] of order.entries()) ranks[row] = rank;
    return ranks;
}

/** The rows with the highest ranks. */
const topOf = (ranks: Float64Array): Set<number> => new Set(Array.from(ranks.keys()).filter((row) => ranks[row]! >= ranks.length * (1 - topShare)));

const within = (shares: Float64Array, rows: Set<number>): number => [...rows].reduce((sum, row) => sum + shares[row]!, 0);

/** Of ranks, each of which comes once. */
function correlation(a: Float64Array, b: Float64Array): number {
    const count = a.length, squares = a.reduce((sum, rank, row) => sum + (rank - b[row]!) ** 2, 0);
    return 1 - 6 * squares / (count * (count ** 2 - 1));
}
