import type {ErrorObject} from "ajv";
import {byteUnits} from "./bytes.js";
import {didYouMean, quoteList} from "../nearest.js";
import {builtInTiers} from "./tiers.js";

const sizeRule = "a whole number of bytes from 1 on, or a size such as " +
    `"512MiB" or "2GB" (units: ${byteUnits.join(", ")})`;
const tierNameRule = 'lower-case letters, digits and hyphens with a letter first, and not "stock"';

/** The sentences for ajv's errors (run with `allErrors` and `verbose`), each mistake once. */
export function describeSchemaErrors(errors: readonly ErrorObject[], defaultTierNames: readonly string[]): string[] {
    const sentences = errors.map((error) => describeSchemaError(error, defaultTierNames));
    return [...new Set(sentences.filter((sentence) => sentence !== null))];
}

/** One sentence for a mistake. `pointer` is the value's JSON pointer; "" stands for the whole policy, and is shown as `(root)`. */
export function problem(pointer: string, value: unknown, wrong: string): string {
    return `${pointer === "" ? "(root)" : pointer}: ${shortJson(value)} ${wrong}.`;
}

/** JSON of a value, cut where a sentence would get too long. */
export function shortJson(value: unknown): string {
    const json = JSON.stringify(value) ?? String(value);
    return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

/** A field's JSON pointer. */
export function pointerTo(parent: string, field: string): string {
    return `${parent}/${field.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

function describeSchemaError(error: ErrorObject, defaultTierNames: readonly string[]): string | null {
    const {instancePath: pointer, data, parentSchema} = error;
    switch (error.keyword) {
        // Both only repeat what the errors inside them say.
        case "if":
        case "propertyNames":
            return null;
        case "additionalProperties": {
            const field = String(error.params["additionalProperty"]);
            const known = Object.keys((parentSchema?.["properties"] ?? {}) as object);
            const value = shortJson((data as Record<string, unknown>)[field]);
            if (pointer === "/turns" && field === "key") return "/turns/key: a key is not for the policy; give it to openTurns({key}), or set DELTASTORE_KEY.";
            return `${pointerTo(pointer, field)}: ${value} is in an unknown field; ` +
                `allowed fields are ${quoteList(known)}${didYouMean(field, known)}.`;
        }
        case "required":
            return error.params["missingProperty"] === "keep" ? problem(pointer, data, 'has no "keep"; give a number from 0 to 1')
                : error.params["missingProperty"] === "share" ? problem(pointer, data, 'has no "share"; give 0, 0.1 or 0.2')
                : error.params["missingProperty"] === "tier" ? problem(pointer, data, 'has no "tier"; give a tier\'s name')
                : error.params["missingProperty"] === "store" ? problem(pointer, data, 'has no "store"; give a folder or a Redis URL')
                : pointer.startsWith("/rules/") ? problem(pointer, data, 'has neither "name" nor "tokens"; give one or both')
                : problem(pointer, data, 'has neither "format" nor "extends"; give one of them');
        case "enum": {
            const allowed = error.params["allowedValues"] as readonly string[];
            const hint = typeof data === "string" ? didYouMean(data, allowed.filter((value) => typeof value === "string")) : "";
            return problem(pointer, data, `is not allowed; allowed are ${quoteList(allowed)}${hint}`);
        }
        case "const":
            return problem(pointer, data, `is not allowed; allowed is ${shortJson(error.params["allowedValue"])}`);
    }
    if (pointer === "/pool/limit" || pointer === "/turns/budget")
        return problem(pointer, data, `is not allowed; give ${sizeRule}${unitHint(data)}`);
    if (pointer === "/sharing/kept" || pointer === "/sharing/states")
        return problem(pointer, data, `is not allowed; give 0, or ${sizeRule}${unitHint(data)}`);
    if (pointer === "/sharing/automatic") return problem(pointer, data, "is not allowed; give true or false");
    if (error.propertyName !== undefined && builtInTiers.has(error.propertyName)) {
        const name = JSON.stringify(error.propertyName);
        return `${pointerTo(pointer, error.propertyName)}: ${name} is a built-in tier, which can't be redefined; ` +
            `give this one another name, and "extends": ${name} to start from it.`;
    }
    if (error.propertyName !== undefined)
        return `${pointerTo(pointer, error.propertyName)}: ${shortJson(error.propertyName)} can't name a tier; ` +
            `use ${tierNameRule}.`;
    if (pointer === "/default")
        return problem(pointer, data, `is no tier; allowed are ${quoteList(defaultTierNames)}` +
            (typeof data === "string" ? didYouMean(data, defaultTierNames) : ""));
    return problem(pointer, data, `is not allowed; give ${describeAllowed(parentSchema ?? {})}`);
}

function describeAllowed(schema: Record<string, unknown>): string {
    const {type, minimum, exclusiveMinimum, maximum, items, uniqueItems} = schema;
    if (exclusiveMinimum !== undefined) return `a number above ${String(exclusiveMinimum)}`;
    if (type === "number") return `a number from ${String(minimum)} to ${String(maximum)}`;
    if (type === "integer") return `a whole number from ${String(minimum)} to ${String(maximum)}`;
    if (type === "string") return "a string of at least one letter";
    if (type === "array") return items !== undefined && uniqueItems === true ? "a list of different tiers' names" : "a list of rules";
    const {properties} = schema;
    return typeof properties === "object" && properties !== null
        ? `an object with the fields ${quoteList(Object.keys(properties))}`
        : "an object with a tier for each name";
}

function unitHint(value: unknown): string {
    const unit = typeof value === "string" ? /[A-Za-z]+$/.exec(value)?.[0] : undefined;
    return unit === undefined || byteUnits.includes(unit) ? "" : didYouMean(unit, byteUnits);
}
