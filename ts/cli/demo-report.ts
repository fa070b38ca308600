import {formatBytes} from "../policy/bytes.js";
import type {CacheRun} from "./demo-run.js";
import {formatTable} from "./output.js";

/** One cache's figures. Rates are tokens a second; `sameTop1` is a share from 0 to 1. */
export interface CacheFigures {
    cache: string;
    tokens: number;
    /** Measured for a packed cache; for stock, what F16 takes for its tokens. */
    residentBytes: number | null;
    residentBytesAre: "measured" | "computed";
    bytesPerToken: number | null;
    /** How many times less than stock F16 takes for the same tokens. */
    lessThanStock: number | null;
    prefillTokensPerSecond: number;
    decodeTokensPerSecond: number;
    sameTop1: number;
    comparedPositions: number;
    answer: string;
}

/** Figures of all runs; the first is stock. */
export function computeFigures(runs: readonly CacheRun[]): CacheFigures[] {
    const [stock] = runs;
    const packed = runs.find(({stockBytes, tokens}) => stockBytes !== null && tokens > 0);
    const stockBytesPerToken = packed === undefined ? null : packed.stockBytes! / packed.tokens;
    return runs.map((run) => {
        const residentBytes = run.residentBytes
            ?? (stockBytesPerToken === null ? null : Math.round(stockBytesPerToken * run.tokens));
        const compared = stock!.nextTokens;
        const same = compared.filter((token, index) => token !== null && token === run.nextTokens[index]).length;
        return {
            cache: run.cache, tokens: run.tokens, residentBytes,
            residentBytesAre: run.residentBytes === null ? "computed" : "measured",
            bytesPerToken: residentBytes === null ? null : residentBytes / run.tokens,
            lessThanStock: run.stockBytes === null || residentBytes === null ? null : run.stockBytes / residentBytes,
            prefillTokensPerSecond: run.prefillTokensPerSecond,
            decodeTokensPerSecond: run.decodeTokensPerSecond,
            sameTop1: compared.length === 0 ? 0 : same / compared.length,
            comparedPositions: compared.length,
            answer: run.answer
        };
    });
}

/** The figures side by side, then the answers. */
export function formatFigures(figures: readonly CacheFigures[]): string {
    const row = (label: string, cell: (figure: CacheFigures) => string): string[] => [label, ...figures.map(cell)];
    const table = formatTable([
        row("", ({cache}) => cache === "stock" ? "stock F16" : cache),
        row("tokens in the cache", ({tokens}) => count(tokens)),
        row("KV cache, resident", ({residentBytes, residentBytesAre}) => residentBytes === null ? "-"
            : `${formatBytes(residentBytes)}${residentBytesAre === "computed" ? "*" : ""}`),
        row("bytes a token", ({bytesPerToken}) => bytesPerToken === null ? "-" : count(bytesPerToken)),
        row("less than stock", ({lessThanStock}) => lessThanStock === null ? "-" : `${lessThanStock.toFixed(2)}x`),
        row("prefill, tokens/s", ({prefillTokensPerSecond}) => rate(prefillTokensPerSecond)),
        row("decode, tokens/s", ({decodeTokensPerSecond}) => rate(decodeTokensPerSecond)),
        row("same top-1 as stock", ({sameTop1}) => `${(sameTop1 * 100).toFixed(1)}%`)
    ]);
    const answers = figures.map(({cache, answer}) => `${cache === "stock" ? "stock F16" : cache}: ${answer}`);
    return [
        table, "",
        "* what F16 holds for these tokens; node-llama-cpp allocates its cache for the whole context at once",
        `same top-1: at the last ${figures[0]?.comparedPositions ?? 0} positions of stock's prompt and answer`, "",
        ...answers
    ].join("\n");
}

function count(value: number): string {
    return Math.round(value).toLocaleString("en-US");
}

function rate(value: number): string {
    return Number.isFinite(value) ? value.toFixed(1) : "-";
}
