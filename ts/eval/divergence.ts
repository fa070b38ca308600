import type {LogitComparison} from "../engine/native.js";
import {estimate, exponentialEstimate, quantile} from "./statistics.js";

/** How a cache's distributions of the next token differ from the reference's at the scored positions of one chunk. */
export interface ChunkDivergence {
    /** KL divergence at each position, in nats, as `encodeFloats` writes it. */
    kld: string;
    /** Log-loss of the text's next token less the reference's, likewise. */
    lossChange: string;
    /** Number of positions where both have the same most likely token. */
    sameTop1: number;
}

export interface DivergenceSummary {
    positions: number;
    /** Mean KL divergence from the reference in nats, with its standard error. */
    kld: number;
    kldError: number;
    /** 99% quantile. */
    kld99: number;
    /** A share from 0 to 1. */
    sameTop1: number;
    sameTop1Error: number;
    /** Perplexity of the text over the reference's. */
    perplexityRatio: number;
    perplexityRatioError: number;
    grade: Grade;
}

const grades = [["EXCELLENT", 0.01], ["GOOD", 0.05], ["ACCEPTABLE", 0.2], ["MARGINAL", 0.5]] as const;
const worstGrade = "POOR";

export type Grade = (typeof grades)[number][0] | typeof worstGrade;

/** The legend of a table with grades. */
export const gradeLegend = `Grades by KLD: ${grades.map(([name, below]) => `${name} below ${below}`).join(", ")}, else ${worstGrade}.`;

export function gradeOf(kld: number): Grade {
    return grades.find(([, below]) => kld < below)?.[0] ?? worstGrade;
}

export class DivergenceRecorder {
    readonly #klds: number[] = [];
    readonly #lossChanges: number[] = [];
    #sameTop1 = 0;

    add({kld, base, other}: LogitComparison): void {
        for (let row = 0; row < kld.length; row++) {
            this.#klds.push(kld[row]!);
            this.#lossChanges.push(other.logLoss[row]! - base.logLoss[row]!);
            if (base.top[row] === other.top[row]) this.#sameTop1++;
        }
    }

    finish(): ChunkDivergence {
        return {kld: encodeFloats(this.#klds), lossChange: encodeFloats(this.#lossChanges), sameTop1: this.#sameTop1};
    }
}

export function summarizeDivergence(chunks: readonly ChunkDivergence[]): DivergenceSummary {
    const klds = chunks.flatMap(({kld}) => decodeFloats(kld));
    const {mean: kld, error: kldError} = estimate(klds);
    const positions = klds.length, sameTop1 = chunks.reduce((sum, chunk) => sum + chunk.sameTop1, 0) / positions;
    const ratio = exponentialEstimate(chunks.flatMap(({lossChange}) => decodeFloats(lossChange)));
    return {
        positions, kld, kldError, kld99: quantile(klds, 0.99),
        sameTop1, sameTop1Error: positions < 2 ? 0 : Math.sqrt(sameTop1 * (1 - sameTop1) / (positions - 1)),
        perplexityRatio: ratio.mean, perplexityRatioError: ratio.error, grade: gradeOf(kld)
    };
}

/** Base64 of doubles. JSON has neither NaN nor infinity, and what is read again must be what was written. */
export function encodeFloats(values: readonly number[]): string {
    return Buffer.from(Float64Array.from(values).buffer).toString("base64");
}

export function decodeFloats(text: string): number[] {
    const bytes = Buffer.from(text, "base64");
    return Array.from({length: bytes.length / 8}, (_, index) => bytes.readDoubleLE(8 * index));
}
