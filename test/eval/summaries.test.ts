import t from "tap";
import {cacheFacts} from "../../bench/quality/facts-report.js";
import {dist} from "../support/paths.js";
import type {LogitComparison} from "../../dist/engine/native.js";

const {estimate, exponentialEstimate, quantile} = await import(dist("eval/statistics.js")) as typeof import("../../dist/eval/statistics.js");
const {decodeFloats, DivergenceRecorder, encodeFloats, gradeOf, summarizeDivergence} =
    await import(dist("eval/divergence.js")) as typeof import("../../dist/eval/divergence.js");
const {isBroken, summarizeRetrieval} = await import(dist("eval/retrieval.js")) as typeof import("../../dist/eval/retrieval.js");
const {summarizeGeneration} = await import(dist("eval/generation.js")) as typeof import("../../dist/eval/generation.js");

/** Everything to 12 digits. */
function rounded<T>(value: T): T {
    return JSON.parse(JSON.stringify(value, (_, part: unknown) => typeof part === "number" ? Number(part.toPrecision(12)) : part)) as T;
}

t.test("means, standard errors and quantiles are those of the formulas", async (t) => {
    // Deviations -2, 0, 2: variance 8 / 2, error sqrt(4 / 3).
    t.strictSame(rounded(estimate([1, 3, 5])), rounded({mean: 3, error: Math.sqrt(4 / 3)}));
    t.strictSame(estimate([7]), {mean: 7, error: 0});
    t.strictSame(rounded(exponentialEstimate([1, 3, 5])), rounded({mean: Math.exp(3), error: Math.exp(3) * Math.sqrt(4 / 3)}));
    t.equal(quantile([5, 1, 3], 0.5), 3);
    t.equal(quantile([10, 0], 0.25), 2.5);
    t.equal(quantile([1, Infinity, Infinity], 1), Infinity);
});

t.test("grades follow the divergence, and what is no number is POOR", async (t) => {
    t.strictSame([0, 0.00999, 0.01, 0.05, 0.2, 0.5, Infinity, NaN].map(gradeOf),
        ["EXCELLENT", "EXCELLENT", "GOOD", "ACCEPTABLE", "MARGINAL", "POOR", "POOR", "POOR"]);
});

t.test("divergences of two chunks are put together over all positions", async (t) => {
    const comparison = (kld: number[], base: number[], other: number[], tops: [number[], number[]]): LogitComparison => ({
        kld: Float64Array.from(kld),
        base: {top: Uint32Array.from(tops[0]), logLoss: Float64Array.from(base)},
        other: {top: Uint32Array.from(tops[1]), logLoss: Float64Array.from(other)}
    });
    const chunks = [
        [comparison([0.1, 0.3], [1, 2], [1, 2], [[5, 6], [5, 6]])],
        [comparison([0.2], [2], [2.5], [[5], [5]]), comparison([0.2], [3], [3.5], [[5], [9]])]
    ].map((comparisons) => {
        const recorder = new DivergenceRecorder();
        for (const one of comparisons) recorder.add(one);
        return recorder.finish();
    });
    // KLDs 0.1, 0.3, 0.2, 0.2: squares 0.02 / 3 / 4. Loss changes 0, 0, 0.5, 0.5: mean 0.25, squares 0.25 / 3 / 4.
    t.strictSame(rounded(summarizeDivergence(chunks)), rounded({
        positions: 4, kld: 0.2, kldError: Math.sqrt(0.02 / 12), kld99: 0.297, sameTop1: 0.75, sameTop1Error: 0.25,
        perplexityRatio: Math.exp(0.25), perplexityRatioError: Math.exp(0.25) * Math.sqrt(0.25 / 12), grade: "MARGINAL"
    }));
    t.equal(chunks[1]!.sameTop1, 1);
    t.strictSame(decodeFloats(encodeFloats([1 / 3, NaN, Infinity, -0])), [1 / 3, NaN, Infinity, -0], "kept as they are");
});

t.test("retrieval is told as a share of the reference's", async (t) => {
    const outcome = (hits: boolean[], logProbabilities: number[]) => ({
        unknown: {hits, logProbabilities}, known: {hits: hits.map(() => true), logProbabilities: logProbabilities.map(() => -1)}
    });
    const reference = [outcome([true, true], [-1, -2]), outcome([true, false], [-1, -6])];
    const cache = [outcome([true, false], [-2, -4]), outcome([false, false], [-2, -6])];
    // Changes -1, -2, -1, 0: mean -1, squares 2 / 3 / 4.
    const unknown = summarizeRetrieval(cache, reference, "unknown");
    t.strictSame(rounded(unknown), rounded({
        questions: 4, accuracy: 0.25, relative: 1 / 3, logProbabilityChange: -1, logProbabilityChangeError: Math.sqrt(1 / 6)
    }));
    t.ok(isBroken(unknown), "less than half of the reference's answers");
    t.match(summarizeRetrieval(cache, reference, "known"), {accuracy: 1, relative: 1, logProbabilityChange: 0, logProbabilityChangeError: 0});
    const nothing = [outcome([false], [-9])];
    t.match(summarizeRetrieval(nothing, nothing, "unknown"), {accuracy: 0, relative: null});
    t.notOk(isBroken(summarizeRetrieval(nothing, nothing, "unknown")), "nobody can say where the reference finds nothing");
});

t.test("facts of one form are told as a share of stock's", async (t) => {
    const ofStock = [{hits: [true, true], logProbabilities: [-1, -2]}, {hits: [true, false], logProbabilities: [-1, -6]}];
    const answers = [{hits: [true, false], logProbabilities: [-2, -4]}, {hits: [false, true], logProbabilities: [-2, -6]}];
    // Changes -1, -2, -1, 0: mean -1, squares 2 / 3 / 4.
    t.strictSame(rounded(cacheFacts("high", answers, ofStock)), rounded({
        name: "high", right: 2, logProbability: -3.5, questions: 4, accuracy: 0.5, relative: 2 / 3, logProbabilityChange: -1,
        logProbabilityChangeError: Math.sqrt(1 / 6)
    }));
});

t.test("answers are compared by agreement and perplexity", async (t) => {
    const found = summarizeGeneration([
        {agreed: 2, identical: true, losses: [1, 1]}, {agreed: 0, identical: false, losses: [2]}
    ]);
    // Losses 1, 1, 2: mean 4/3, squares 2/3 / 2 / 3. Agreement 2, 0: error 1.
    t.strictSame(rounded(found), rounded({
        answers: 2, agreed: 1, agreedError: 1, identical: 0.5, perplexity: Math.exp(4 / 3), perplexityError: Math.exp(4 / 3) / 3
    }));
});
