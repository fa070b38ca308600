import {principalVariances, productsOf} from "./axes.js";
import {average, centred, countOf, joined, ofKinds, type Kind, type Rows, type TextRows} from "./rows.js";

const ranks = [8, 16, 32, 48];

/** Squared error of the best factors of a rank, over the energy; on average. */
interface RankError {
    rank: number;
    error: number;
}

export interface LowRank {
    errors: RankError[];
    /** Of the rank whose F16 factors take a quarter of the F16 rows. */
    quarter: RankError;
}

/** Of each head by itself, and of a layer's heads side by side. */
export function lowRank(text: TextRows): Record<Kind, {head: LowRank; layer: LowRank}> {
    return ofKinds((kind) => ({head: lowRankOf(text[kind].flat()), layer: lowRankOf(text[kind].map(joined))}));
}

function lowRankOf(all: readonly Rows[]): LowRank {
    const {dim} = all[0]!, count = countOf(all[0]!), rank = Math.floor(count * dim / 4 / (count + dim));
    const variances = all.map((rows) => principalVariances(productsOf(centred(rows))));
    const errorAt = (rank: number): RankError => ({rank, error: average(variances.map((each) => sum(each.slice(rank)) / sum(each)))});
    return {errors: ranks.map(errorAt), quarter: errorAt(rank)};
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
