import type {ErrorObject} from "ajv";
import {didYouMean, quoteList} from "../nearest.js";
import {byteUnits} from "./bytes.js";

/** The rule for a size that is bytes or a string with a unit. */
export const sizeRule = "a whole number of bytes from 1 on, or a size such as " +
    `"512MiB" or "2GB" (units: ${byteUnits.join(", ")})`;

/** One sentence for a mistake. `pointer` is the value's JSON pointer; "" stands for the whole file, and is shown as `(root)`. */
export function problem(pointer: string, value: unknown, wrong: string): string {
    return `${pointer === "" ? "(root)" : pointer}: ${shortJson(value)} ${wrong}.`;
}

/** JSON of a value, cut where a sentence would get too long. */
export function shortJson(value: unknown): string {
    const json = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value);
    return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

/** A field's JSON pointer. */
export function pointerTo(parent: string, field: string): string {
    return `${parent}/${field.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** The sentence for an error of ajv (run with `allErrors` and `verbose`) whose field has none of its own. Null if it only repeats what errors inside of it say. */
export function describeSchemaError(error: ErrorObject): string | null {
    const {instancePath: pointer, data, parentSchema} = error;
    switch (error.keyword) {
        case "if":
        case "propertyNames":
            return null;
        case "additionalProperties": {
            const field = String(error.params["additionalProperty"]);
            const known = Object.keys((parentSchema?.["properties"] ?? {}) as object);
            return `${pointerTo(pointer, field)}: ${shortJson((data as Record<string, unknown>)[field])} is in an unknown field; ` +
                `allowed fields are ${quoteList(known)}${didYouMean(field, known)}.`;
        }
        case "enum": {
            const allowed = error.params["allowedValues"] as readonly string[];
            const hint = typeof data === "string" ? didYouMean(data, allowed.filter((value) => typeof value === "string")) : "";
            return problem(pointer, data, `is not allowed; allowed are ${quoteList(allowed)}${hint}`);
        }
        case "const":
            return problem(pointer, data, `is not allowed; allowed is ${shortJson(error.params["allowedValue"])}`);
    }
    return problem(pointer, data, `is not allowed; give ${describeAllowed(parentSchema ?? {})}`);
}

/** The same sentence is told once. */
export function sentencesOf(errors: readonly ErrorObject[], describe: (error: ErrorObject) => string | null): string[] {
    return [...new Set(errors.map(describe).filter((sentence) => sentence !== null))];
}

/** ` (did you mean "MiB"?)`, or nothing. */
export function unitHint(value: unknown): string {
    const unit = typeof value === "string" ? /[A-Za-z]+$/.exec(value)?.[0] : undefined;
    return unit === undefined || byteUnits.includes(unit) ? "" : didYouMean(unit, byteUnits);
}

function describeAllowed(schema: Record<string, unknown>): string {
    const {type, minimum, exclusiveMinimum, maximum, items, uniqueItems} = schema;
    if (exclusiveMinimum !== undefined) return `a number above ${String(exclusiveMinimum)}${maximum === undefined ? "" : `, up to ${String(maximum)}`}`;
    if (type === "number") return `a number from ${String(minimum)}${maximum === undefined ? " on" : ` to ${String(maximum)}`}`;
    if (type === "integer") return `a whole number from ${String(minimum)} to ${String(maximum)}`;
    if (type === "string") return "a string of at least one letter";
    if (type === "array") return items !== undefined && uniqueItems === true ? "a list of different tiers' names" : "a list of rules";
    const {properties} = schema;
    return typeof properties === "object" && properties !== null
        ? `an object with the fields ${quoteList(Object.keys(properties))}`
        : "an object with a tier for each name";
}
