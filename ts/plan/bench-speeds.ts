import {readFileSync} from "node:fs";
import {DeltaStoreError} from "../errors.js";
import {quantile} from "../eval/statistics.js";
import {isRecord} from "../options.js";
import type {Speed} from "./scenario.js";

interface Point {
    depth: number;
    sequences: number;
    cache: string;
    /** Milliseconds of a step, round by round. */
    decode: {undisturbed: number[]};
    /** Of a prompt of `prefillTokens`. */
    prefill?: number[];
}

const prefillTokens = 512;

/**
 * The speeds in a file of `npm run bench`, by cache: for each number of sequences those of the deepest.
 * @throws DeltaStoreError PLAN_INVALID if it is no such file
 */
export function benchSpeeds(path: string): Map<string, Speed> {
    const points = readPoints(path).sort((a, b) => a.depth - b.depth), speeds = new Map<string, Speed>();
    for (const {cache, sequences, decode, prefill} of points) {
        const name = cache.toLowerCase().replace(" ", "-"), known = speeds.get(name), others = known?.decode.filter((point) => point.sequences !== sequences) ?? [];
        speeds.set(name, {
            decode: [...others, {sequences, speed: sequences / quantile(decode.undisturbed, 0.5) * 1000}],
            prefill: prefill === undefined ? known?.prefill : prefillTokens / quantile(prefill, 0.5) * 1000
        });
    }
    return speeds;
}

function readPoints(path: string): Point[] {
    try {
        const report = JSON.parse(readFileSync(path, "utf8")) as unknown;
        if (isRecord(report) && Array.isArray(report["points"]) && report["points"].length > 0 && report["points"].every(isPoint)) return report["points"];
    } catch (error) {
        throw new DeltaStoreError("PLAN_INVALID", `The file ${path} of machine.bench can't be read: ${(error as Error).message}`, {cause: error});
    }
    throw new DeltaStoreError("PLAN_INVALID", `The file ${path} of machine.bench is none that \`npm run bench\` wrote`);
}

function isPoint(value: unknown): value is Point {
    const times = (list: unknown) => Array.isArray(list) && list.length > 0 && list.every((time) => typeof time === "number" && time > 0);
    return isRecord(value) && typeof value["cache"] === "string" && typeof value["depth"] === "number" &&
        Number.isInteger(value["sequences"]) && (value["sequences"] as number) > 0 &&
        isRecord(value["decode"]) && times(value["decode"]["undisturbed"]) && (value["prefill"] === undefined || times(value["prefill"]));
}
