import {quantile} from "../eval/statistics.js";
import {formatBytes} from "../policy/bytes.js";
import {decodeRound, prefillRound, type CacheRun} from "./demo-run.js";
import {formatTable} from "./output.js";

/** Speed of a cache: the median of its rounds, in tokens a second, and its ratio to stock's median. */
export interface Speed {
    rounds: number;
    tokensPerSecond: number;
    toStock: number;
}

/** One cache's figures. `sameTop1` is a share from 0 to 1. */
export interface CacheFigures {
    cache: string;
    tokens: number;
    /** Measured for a packed cache. For stock it is what F16 takes for the tokens. */
    residentBytes: number | null;
    residentBytesAre: "measured" | "computed";
    bytesPerToken: number | null;
    /** How many times less than stock F16 takes for the same tokens. */
    lessThanStock: number | null;
    prefill: Speed;
    decode: Speed;
    sameTop1: number;
    comparedPositions: number;
    answer: string;
}

/** Figures of all runs. The first run is stock's. */
export function computeFigures(runs: readonly CacheRun[]): CacheFigures[] {
    const stock = runs[0]!;
    const stockBytes = runs.find((run) => run.stockBytes !== null)?.stockBytes ?? null;
    return runs.map((run) => {
        const residentBytes = run.residentBytes ?? stockBytes;
        const same = stock.nextTokens.filter((token, index) => token !== null && token === run.nextTokens[index]).length;
        return {
            cache: run.cache, tokens: run.tokens, residentBytes,
            residentBytesAre: run.residentBytes === null ? "computed" : "measured",
            bytesPerToken: residentBytes === null ? null : residentBytes / run.tokens,
            lessThanStock: run.stockBytes === null || residentBytes === null ? null : run.stockBytes / residentBytes,
            prefill: speedOf(run.prefillRates, stock.prefillRates),
            decode: speedOf(run.decodeRates, stock.decodeRates),
            sameTop1: same / stock.nextTokens.length,
            comparedPositions: stock.nextTokens.length,
            answer: run.answer
        };
    });
}

function speedOf(rates: readonly number[], stockRates: readonly number[]): Speed {
    return {rounds: rates.length, tokensPerSecond: quantile(rates, 0.5), toStock: quantile(rates, 0.5) / quantile(stockRates, 0.5)};
}

/** The figures side by side, then the answers. */
export function formatFigures(figures: readonly CacheFigures[]): string {
    const row = (label: string, cell: (figure: CacheFigures) => string): string[] => [label, ...figures.map(cell)];
    const table = formatTable([
        row("", ({cache}) => titleOf(cache)),
        row("tokens in the cache", ({tokens}) => count(tokens)),
        row("KV cache, resident", ({residentBytes, residentBytesAre}) => residentBytes === null ? "-"
            : `${formatBytes(residentBytes)}${residentBytesAre === "computed" ? "*" : ""}`),
        row("bytes a token", ({bytesPerToken}) => bytesPerToken === null ? "-" : count(bytesPerToken)),
        row("less than stock", ({lessThanStock}) => lessThanStock === null ? "-" : `${lessThanStock.toFixed(2)}x`),
        row("prefill, tokens/s", ({prefill}) => prefill.tokensPerSecond.toFixed(1)),
        row("  to stock", ({prefill}) => `x${prefill.toStock.toFixed(2)}`),
        row("decode, tokens/s", ({decode}) => decode.tokensPerSecond.toFixed(1)),
        row("  to stock", ({decode}) => `x${decode.toStock.toFixed(2)}`),
        row("same top-1 as stock", ({sameTop1}) => `${(sameTop1 * 100).toFixed(1)}%`)
    ]);
    const {prefill, decode, comparedPositions} = figures[0]!;
    return [
        table, "",
        "* what F16 holds for these tokens; node-llama-cpp allocates its cache for the whole context at once",
        `speeds: medians of ${prefill.rounds} rounds of ${prefillRound} tokens and ${decode.rounds} of ${decodeRound}, ` +
            "the caches in turn",
        `same top-1: at the last ${comparedPositions} positions of stock's prompt and answer`,
        ...figures.flatMap(({cache, answer}) => ["", `${titleOf(cache)}: ${answer}`])
    ].join("\n");
}

function titleOf(cache: string): string {
    return cache === "stock" ? "stock F16" : cache;
}

function count(value: number): string {
    return Math.round(value).toLocaleString("en-US");
}
