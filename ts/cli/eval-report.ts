import {gradeLegend} from "../eval/divergence.js";
import type {CacheReport, EvalReport} from "../eval/report.js";
import {brokenBelow, isBroken, type RetrievalSummary} from "../eval/retrieval.js";
import {formatTable} from "./output.js";

/** A table of each measurement, with its legend. */
export function formatReport(report: EvalReport): string {
    const {model, caches} = report;
    return [`Caches beside the stock F16 cache, on ${model}.`, ...logits(caches), ...retrieval(caches), ...generation(report)].join("\n");
}

function logits(caches: readonly CacheReport[]): string[] {
    const measured = caches.flatMap(({name, logits}) => logits === undefined ? [] : [{name, ...logits}]);
    if (measured.length === 0) return [];
    const {window, worst} = measured[0]!;
    return [
        "", "Next-token distributions",
        formatTable([
            ["cache", "less memory", "KLD", "99%", "same top-1", "perplexity", "grade", "KLD, worst case"],
            ...measured.map(({name, window, worst}) => [
                name, times(window.memoryRatio), withError(window.kld, window.kldError, 5), window.kld99.toFixed(4),
                `${percent(window.sameTop1)} ± ${percent(window.sameTop1Error)}`, `x${withError(window.perplexityRatio, window.perplexityRatioError, 4)}`,
                window.grade, withError(worst.kld, worst.kldError, 5)
            ])
        ]),
        `KL divergence in nats, mean ± standard error, at ${window.positions} positions: chunks of 1,024 tokens, a prompt of 512, the rest in`,
        `batches of 16. Worst case: no window, every row is packed before any query sees it (${worst.positions} positions). Less memory: stock's`,
        `F16 bytes over resident bytes at the end of a chunk; computed for stock's caches. Perplexity: of the text, to stock F16's.`,
        gradeLegend
    ];
}

function retrieval(caches: readonly CacheReport[]): string[] {
    const measured = caches.flatMap(({name, retrieval}) => retrieval === undefined ? [] : [{name, ...retrieval}]);
    if (measured.length === 0) return [];
    const cells = ({accuracy, relative, logProbabilityChange: change, logProbabilityChangeError: error}: RetrievalSummary) =>
        [percent(accuracy), relative === null ? "-" : percent(relative), withError(change, error, 3)];
    return [
        "", "Facts found in long texts",
        formatTable([
            ["cache", "asked later", "to stock", "log-probability", "asked at once", "to stock", "log-probability", ""],
            ...measured.map(({name, unknown, known}) =>
                [name, ...cells(unknown), ...cells(known), isBroken(unknown) || isBroken(known) ? "BROKEN" : ""])
        ]),
        `${measured[0]!.unknown.questions} questions each. Asked later: in a turn after the text's, so unknown when rows are evicted. At once: in the text's own prompt.`,
        "Log-probability: how the right answer's differs from stock F16's, in nats, mean ± standard error.",
        `BROKEN: less than ${percent(brokenBelow)} of stock's accuracy, whatever the divergence says.`
    ];
}

function generation({caches, withoutChat}: EvalReport): string[] {
    const measured = caches.flatMap(({name, generation}) => generation === undefined ? [] : [{name, ...generation}]);
    if (measured.length === 0) return [];
    return [
        "", "Greedy answers",
        formatTable([
            ["cache", "tokens as stock's", "identical", "perplexity under stock"],
            ...measured.map(({name, agreed, agreedError, identical, perplexity, perplexityError}) =>
                [name, withError(agreed, agreedError, 1), percent(identical), withError(perplexity, perplexityError, 3)])
        ]),
        `${measured[0]!.answers} answers of at most 64 tokens, ` +
            (withoutChat ? "which go on with a text: the model has no chat template, so chats are left out. " : "a chat of several turns among them. ") +
            "Tokens as stock's: before the first that differs."
    ];
}

const times = (ratio: number) => `${ratio.toFixed(2)}x`;
const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
const withError = (value: number, error: number, digits: number) => `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
