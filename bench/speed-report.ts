import type {DecodeTimes} from "./cases/decode.js";
import {prefillTokens} from "./cases/prefill.js";
import {reference} from "./caches.js";
import {count, mib, spread, table, threadCount} from "./support/format.js";
import {median} from "./support/statistics.js";

/** One cache at one depth with so many sequences. Times are milliseconds, one figure a round. */
export interface Point {
    depth: number;
    sequences: number;
    cache: string;
    bytes: number;
    decode: DecodeTimes;
    prefill?: number[];
}

/** What `npm run bench` measured: bench/results/speed.json. */
export interface SpeedReport {
    date: string;
    processor: string;
    runtime: string;
    /** Instruction set of our kernels. Stock takes the best that its libraries have for the processor. */
    kernel: string;
    model: {
        file: string;
        /** KV heads of all layers that attend to all tokens, and of those with a sliding window. Files of before have others. */
        heads: number;
        windowHeads: number;
        /** Tokens of the window. */
        window: number;
    };
    threads: number;
    /** Bytes a second that the threads read from memory. */
    readSpeed: number;
    points: Point[];
}

/** The reference's time over the cache's, for the rounds in which both were measured. */
const ratios = (base: number[], times: number[]) => times.slice(0, base.length).map((time, round) => base[round]! / time);

/** Figures that follow from what was measured. */
export class SpeedFigures {
    constructor(readonly report: SpeedReport) {}

    at(depth: number, sequences: number, cache: string): Point | undefined {
        return this.report.points.find((point) => point.depth === depth && point.sequences === sequences && point.cache === cache);
    }

    base({depth, sequences}: Point): Point {
        return this.at(depth, sequences, reference.name)!;
    }

    decodeSpeed({sequences, decode}: Point): number {
        return sequences / median(decode.undisturbed) * 1000;
    }

    /** Milliseconds of a step that are due to the depth. Undefined if depth 0 was not measured, or took longer by noise. */
    attention({depth, sequences, cache, decode}: Point): number | undefined {
        const empty = this.at(0, sequences, cache);
        const time = depth === 0 || empty === undefined ? 0 : median(decode.undisturbed) - median(empty.decode.undisturbed);
        return time > 0 ? time : undefined;
    }

    /** Milliseconds that it takes at least to read the cache once from memory. A cache that fits the processor's own may be read faster. */
    floor({bytes}: Point): number {
        return bytes / this.report.readSpeed * 1000;
    }

    /** Of stock F16's time, round by round: how many times as fast a cache decodes. */
    toReference(point: Point): number {
        return median(ratios(this.base(point).decode.undisturbed, point.decode.undisturbed));
    }

    /** A sentence on what was measured, and with what. */
    get setting(): string {
        const {model, processor, threads, runtime, date} = this.report;
        return `${model.file}, ${processor}, ${threadCount(threads)}, ${runtime}, ${date}.`;
    }

    /** By the name of their place in docs/speed.md. */
    readonly tables = {
        speed: () => table(
            ["depth", "cache", `prefill of ${prefillTokens}, tokens/s`, "to stock F16", "decode, tokens/s", "to stock F16", "memory"],
            this.#rows((point) => point.sequences === 1 && point.prefill !== undefined, (point) => [
                count(point.depth), point.cache,
                (prefillTokens / median(point.prefill!) * 1000).toFixed(0), spread(ratios(this.base(point).prefill!, point.prefill!)),
                this.decodeSpeed(point).toFixed(1), spread(ratios(this.base(point).decode.undisturbed, point.decode.undisturbed)),
                mib(point.bytes)
            ])),
        together: () => table(
            ["sequences", "depth of each", "cache", "decode, tokens/s of all", "to stock F16", "memory"],
            this.#rows(({depth, sequences}) => depth > 0 && sequences > 1, (point) => [
                String(point.sequences), count(point.depth), point.cache,
                this.decodeSpeed(point).toFixed(1), spread(ratios(this.base(point).decode.undisturbed, point.decode.undisturbed)),
                mib(point.bytes)
            ])),
        attention: () => table(
            ["sequences", "depth", "cache", "attention, ms a step", "reading the cache, ms", "part of it", "ns a row"],
            this.#rows((point) => this.attention(point) !== undefined, (point) => {
                const attention = this.attention(point)!, floor = this.floor(point), {heads, windowHeads, window} = this.report.model;
                const rows = point.sequences * (point.depth * heads + Math.min(point.depth, window) * windowHeads);
                return [
                    String(point.sequences), count(point.depth), point.cache, attention.toFixed(2), floor.toFixed(2),
                    `${(100 * floor / attention).toFixed(0)}%`, (attention * 1e6 / rows).toFixed(2)
                ];
            }))
    };

    #rows(shown: (point: Point) => boolean, cells: (point: Point) => string[]): string[][] {
        return this.report.points.filter(shown).map(cells);
    }
}
