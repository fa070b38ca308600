import {inspect} from "node:util";
import {DeltaStoreError} from "./errors.js";
import {didYouMean, quoteList} from "./nearest.js";

export function invalid(message: string): DeltaStoreError {
    return new DeltaStoreError("OPTION_INVALID", message);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Without the fields that are undefined: they would take the place of defaults. */
export function given<T extends object>(options: T): T {
    return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** @throws DeltaStoreError OPTION_INVALID: not an object, or a field that is not allowed */
export function requireOptions(method: string, options: unknown, allowed: readonly string[]): void {
    if (!isRecord(options)) throw invalid(`${method}'s options are ${inspect(options, {depth: 0})}; allowed is an object with ${quoteList(allowed)}`);
    for (const name of Object.keys(options))
        if (!allowed.includes(name)) throw invalid(`${method} has no option ${JSON.stringify(name)}; allowed are ${quoteList(allowed)}${didYouMean(name, allowed)}`);
}

/** @throws DeltaStoreError OPTION_INVALID: a value is given, and it is not a number of at least `least` */
export function requireNumber(name: string, value: unknown, least: number): void {
    if (value !== undefined && (typeof value !== "number" || !(value >= least)))
        throw invalid(`${name} is ${inspect(value, {depth: 0})}; allowed is a number of at least ${least}`);
}
