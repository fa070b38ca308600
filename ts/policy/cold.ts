import {inspect, isDeepStrictEqual} from "node:util";
import {quoteList} from "../nearest.js";
import {invalid, isRecord} from "../options.js";
import {codecNames, codecOf, codecText, optionsOf, type CodecName, type ColdCodec} from "./codecs.js";
import type {PolicyCold} from "./policy-file.js";
import {problem} from "./schema-problems.js";

/** What becomes of conversations that nobody saved or restored for so long. */
export interface ColdStep {
    /** Seconds. */
    readonly after: number;
    readonly codec: ColdCodec;
}

const unitSeconds: Readonly<Record<string, number>> = {s: 1, m: 60, h: 3600, d: 86_400};

export const ageRule = 'a number with a unit, such as "12h" or "7d" (units: s, m, h, d)';

/** Seconds of `"7d"`, `"1.5h"` and the like. Null if the text is no such age. */
export function parseAge(text: string): number | null {
    const match = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text);
    return match === null ? null : Number(match[1]) * unitSeconds[match[2]!]!;
}

/** Steps of a policy that was checked. */
export function coldSteps(steps: readonly PolicyCold[]): ColdStep[] {
    return steps.map(({after, ...options}) => ({after: parseAge(after)!, codec: codecOf("turns.cold", options)}));
}

/**
 * Steps that an app gave, checked.
 * @throws DeltaStoreError OPTION_INVALID
 */
export function requireColdSteps(steps: unknown): ColdStep[] {
    if (!Array.isArray(steps)) throw invalid(`cold is ${inspect(steps, {depth: 0})}; allowed is a list of steps such as {after: "7d", codec: "transform"}`);
    const checked = steps.map((step: unknown, index) => {
        if (!isRecord(step)) throw invalid(`cold[${index}] is ${inspect(step, {depth: 0})}; allowed is a step such as {after: "7d", codec: "transform"}`);
        const {after, ...options} = step, seconds = typeof after === "string" ? parseAge(after) : null;
        if (seconds === null) throw invalid(`cold[${index}].after is ${inspect(after, {depth: 0})}; allowed is ${ageRule}`);
        return {after: seconds, codec: codecOf(`cold[${index}]`, options, `cold[${index}].`)};
    });
    const late = checked.findIndex(({after}, index) => index > 0 && after <= checked[index - 1]!.after);
    if (late > 0) throw invalid(`cold[${late}].after is ${quoted(steps, late)}, no later than ${quoted(steps, late - 1)} of the step before; order the steps by age`);
    return checked;
}

const quoted = (steps: readonly {after: string}[], index: number): string => JSON.stringify(steps[index]!.after);

/** What valid steps say in vain. */
export function coldWarnings(steps: readonly ColdStep[], ttl: number): string[] {
    return steps.flatMap(({after, codec}, index) => {
        const pointer = `/turns/cold/${index}`, before = steps[index - 1]?.codec;
        if (after >= ttl) return [problem(`${pointer}/after`, `${after}s`, `never comes, because "ttl" drops turns after ${ttl} s`)];
        if (before === undefined || codec.name === "tokens" || isDeepStrictEqual(before, codec)) return [];
        return [problem(`${pointer}/codec`, codec.name, "freezes only conversations that the step before has missed, because " +
            `${codecText(codec)} can't follow ${codecText(before)}`)];
    });
}

/** Mistakes of a policy's steps that its schema can't express. What the schema refuses is left to it. */
export function coldProblems(steps: readonly unknown[]): string[] {
    let before = -1;
    return steps.filter(isRecord).flatMap((step, index) => {
        const {after, codec, ...options} = step, pointer = `/turns/cold/${index}`, problems: string[] = [];
        const seconds = typeof after === "string" ? parseAge(after) : null;
        if (seconds !== null && seconds <= before) problems.push(problem(`${pointer}/after`, after, "is no later than the step before; order the steps by age"));
        before = seconds ?? before;
        const known = codecNames.find((name) => name === codec);
        if (known === undefined) return problems;
        const own: readonly string[] = optionsOf(known);
        for (const [option, value] of Object.entries(options)) {
            const others = codecNames.filter((name: CodecName) => (optionsOf(name) as readonly string[]).includes(option));
            if (!own.includes(option) && others.length > 0)
                problems.push(problem(`${pointer}/${option}`, value, `is an option of ${quoteList(others)}; the codec "${known}" has ` +
                    (own.length === 0 ? "none" : quoteList(own))));
        }
        return problems;
    });
}
