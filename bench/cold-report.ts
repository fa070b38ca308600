import type {ColdFacts} from "../ts/plan/facts.js";
import {count, table, withError} from "./support/format.js";

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
}

export interface ColdReport {
    readonly model: string;
    readonly elements: number;
    readonly parameters: number;
    readonly tokens: number;
    readonly threads: number;
    readonly positions: number;
    /** F16 rows, as stock's state file has them. */
    readonly stockBytes: number;
    readonly evaluateSeconds: number;
    readonly rows: ColdRow[];
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

export function coldTable({tokens, threads, positions, stockBytes, evaluateSeconds, rows}: ColdReport): string {
    const speed = (seconds: number) => seconds === 0 ? "" : count(Math.round(stockBytes / 1e6 / seconds));
    const lines = rows.map(({name, bytes, bookBytes, freezeSeconds, restoreSeconds, kld, kldError, sameTop1}) => [
        name, `${(stockBytes / bytes).toFixed(1)}x`, megabytes(bytes), bookBytes === 0 ? "" : megabytes(bookBytes), withError(kld, kldError, 4), `${(100 * sameTop1).toFixed(1)}%`,
        speed(freezeSeconds), restoreSeconds.toFixed(2), `${(evaluateSeconds / restoreSeconds).toFixed(0)}x`
    ]);
    const head = ["", "ratio at rest", "MB", "learned once, MB", "KLD after restoring", "same top-1", "freezing, MB/s", "restoring, s", "sooner than evaluating"];
    return `${table(head, lines)}\n\nA conversation of ${count(tokens)} tokens, ${threads} threads; ${megabytes(stockBytes)} MB in stock's state file; evaluating takes ` +
        `${evaluateSeconds.toFixed(1)} s. KLD against stock's F16 cache over ${count(positions)} positions: 512 tokens are restored, and the next 512 scored. MB/s are of F16 rows.`;
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
