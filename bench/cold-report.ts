import type {ColdFacts} from "../ts/plan/facts.js";
import {frontChart} from "./quality/sweep-chart.js";
import type {Beside} from "./support/beside.js";
import {count, percent, spread, table, threadCount, withError} from "./support/format.js";

/** A codec, or a tier whose conversations are not frozen. */
export interface ColdRow {
    readonly name: string;
    readonly codec: ColdFacts["codecs"][number]["codec"];
    readonly options: Record<string, number>;
    /** Of a conversation of `tokens` tokens. */
    readonly bytes: number;
    /** What the codec has learned of the model, once a store. */
    readonly bookBytes: number;
    readonly freezeSeconds: number;
    readonly restoreSeconds: number;
    /** Of what follows after restoring 512 tokens, against stock's F16 cache. */
    readonly kld: number;
    readonly kldError: number;
    readonly sameTop1: number;
    /** Questions about hidden facts that are answered right after restoring. */
    readonly hits: number;
}

export interface ColdReport {
    readonly model: string;
    readonly elements: number;
    readonly parameters: number;
    readonly tokens: number;
    readonly threads: number;
    readonly positions: number;
    readonly questions: number;
    readonly stockHits: number;
    /** F16 rows, as stock's state file has them. */
    readonly stockBytes: number;
    readonly evaluateSeconds: number;
    readonly rows: ColdRow[];
    /** Freezing the conversation with `transform` at 12x beside a generation. */
    readonly beside: Beside[];
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

export function coldTable({tokens, threads, positions, questions, stockHits, stockBytes, evaluateSeconds, rows, beside}: ColdReport): string {
    const speed = (seconds: number) => seconds === 0 ? "" : count(Math.round(stockBytes / 1e6 / seconds));
    const lines = rows.map(({name, bytes, bookBytes, freezeSeconds, restoreSeconds, kld, kldError, sameTop1, hits}) => [
        name, `${(stockBytes / bytes).toFixed(1)}x`, megabytes(bytes), bookBytes === 0 ? "" : megabytes(bookBytes), withError(kld, kldError, 4), percent(sameTop1),
        percent(hits / stockHits), speed(freezeSeconds), speed(restoreSeconds), restoreSeconds.toFixed(2), `${(evaluateSeconds / restoreSeconds).toFixed(0)}x`
    ]);
    const head = [
        "", "ratio at rest", "MB", "learned once, MB", "KLD after restoring", "same top-1", "facts found, of stock's", "freezing, MB/s", "restoring, MB/s", "restoring, s",
        "sooner than evaluating"
    ];
    return `${table(head, lines)}\n\nA conversation of ${count(tokens)} tokens; ${megabytes(stockBytes)} MB in stock's state file; evaluating takes ` +
        `${evaluateSeconds.toFixed(1)} s on ${threadCount(threads)}. KLD against stock's F16 cache over ${count(positions)} positions: 512 tokens are restored, and the ` +
        `next 512 scored. Facts: ${questions} questions about texts of 512 to 2,048 tokens that were restored; stock's F16 cache answers ${stockHits}. MB/s are of ` +
        `F16 rows.${besideText(beside)}`;
}

function besideText(beside: readonly Beside[]): string {
    if (beside.length === 0) return "";
    const seconds = beside.map((round) => round.seconds);
    return ` Freezing it with \`transform\` beside a generation takes ${Math.min(...seconds).toFixed(1)} to ${Math.max(...seconds).toFixed(1)} s, and the ` +
        `generation has ${spread(beside.map(({speed}) => speed))} of its speed: median of ${beside.length} rounds.`;
}

/** Ratio at rest against KLD. `tokens`, which has no rows, would be far to the right. */
export function coldPicture({rows, stockBytes, tokens}: ColdReport): string {
    const points = rows.filter(({codec}) => codec !== "tokens").map(({name, bytes, kld, kldError}) => ({name, memoryRatio: stockBytes / bytes, kld, kldError}));
    return frontChart(points, `F16 bytes over bytes at rest at ${count(tokens)} tokens`);
}

/** For `deltastore turns estimate`: the plainest of each codec. */
export function coldFacts({model, elements, parameters, tokens, threads, rows}: ColdReport): ColdFacts {
    const chosen = ["high", "transform 12x", "vq 4", "pq 8", "channel K4V2 g64", "tokens"].flatMap((name) => rows.filter((row) => row.name === name));
    return {
        model, elements, parameters, tokens,
        codecs: chosen.map(({codec, options, bytes, restoreSeconds}) => ({codec, ...options, bytes, seconds: Number(restoreSeconds.toPrecision(3)), cores: codec === "packed" ? 1 : threads})),
        source: "npm run bench:cold", date: new Date().toISOString().slice(0, 7)
    };
}
