import type {CacheReport, EvalReport} from "../../ts/eval/report.js";
import type {RetrievalSummary} from "../../ts/eval/retrieval.js";
import {count, percent, table, withError} from "../support/format.js";
import {dist} from "../support/package.js";

const {isBroken} = await dist("eval/retrieval.js");
const {gradeLegend} = await dist("eval/divergence.js");
const {windowProtocol} = await dist("eval/logits.js");
const {mostTokens} = await dist("eval/generation.js");

/** The caches for which this was measured. */
function measured<Name extends "logits" | "retrieval" | "generation">({caches}: EvalReport, name: Name): {name: string; figures: NonNullable<CacheReport[Name]>}[] {
    return caches.flatMap((cache) => {
        const figures = cache[name];
        return figures === undefined ? [] : [{name: cache.name, figures: figures as NonNullable<CacheReport[Name]>}];
    });
}

/** What right answers mean beside stock's. */
export const toStock = (summary: RetrievalSummary) => [
    (summary.relative === null ? "" : percent(summary.relative)) + (isBroken(summary) ? ", BROKEN" : ""),
    withError(summary.logProbabilityChange, summary.logProbabilityChangeError, 2)
];

/** The tables of bench/results/quality.json. */
export function evalTables(report: EvalReport): {quality: string; retrieval: string; generation: string} {
    const logits = measured(report, "logits"), retrieval = measured(report, "retrieval"), generation = measured(report, "generation");
    const cells = (summary: RetrievalSummary) => [percent(summary.accuracy), ...toStock(summary)];
    const {chunkTokens, promptTokens, batch} = windowProtocol, {window, worst} = logits[0]!.figures;
    return {
        quality: table(["cache", "less memory by", "KLD as used", "99%", "same top-1", "perplexity", "grade", "KLD worst case"],
            logits.map(({name, figures: {window, worst}}) => [
                name, `${window.memoryRatio.toFixed(2)}x`, withError(window.kld, window.kldError, 5), window.kld99.toFixed(4), percent(window.sameTop1),
                `x${window.perplexityRatio.toFixed(3)}`, window.grade, withError(worst.kld, worst.kldError, 5)
            ])) +
            `\n\n${report.model}, ${report.date}. As used: ${count(window.positions)} positions in chunks of ${count(chunkTokens)} tokens; of each, the first ` +
            `${promptTokens} are the prompt, and the rest is scored in batches of ${batch}. Worst case: ${count(worst.positions)} positions. ${gradeLegend}`,
        retrieval: table(["cache", "asked later", "to stock", "log-probability", "asked at once", "to stock", "log-probability"],
            retrieval.map(({name, figures: {unknown, known}}) => [name, ...cells(unknown), ...cells(known)])) +
            `\n\n${retrieval[0]!.figures.unknown.questions} questions each way.`,
        generation: table(["cache", "tokens as stock's", "identical", "perplexity under stock"],
            generation.map(({name, figures: {agreed, agreedError, identical, perplexity, perplexityError}}) =>
                [name, withError(agreed, agreedError, 1), percent(identical), withError(perplexity, perplexityError, 3)])) +
            `\n\n${generation[0]!.figures.answers} answers of at most ${mostTokens} tokens.` +
            (report.withoutChat ? " They go on with a text: the model has no chat template, so chats are left out." : "")
    };
}
