import type {ErrorObject} from "ajv";
import {didYouMean, quoteList} from "../nearest.js";
import {ageRule} from "./cold.js";
import {codecNames} from "./codecs.js";
import {describeSchemaError, pointerTo, problem, sentencesOf, shortJson, sizeRule, unitHint} from "./schema-problems.js";
import {builtInTiers} from "./tiers.js";

const tierNameRule = 'lower-case letters, digits and hyphens with a letter first, and not "stock"';

/** The sentences for ajv's errors (run with `allErrors` and `verbose`), each mistake once. */
export function describePolicyErrors(errors: readonly ErrorObject[], defaultTierNames: readonly string[]): string[] {
    return sentencesOf(errors, (error) => describePolicyError(error, defaultTierNames));
}

function describePolicyError(error: ErrorObject, defaultTierNames: readonly string[]): string | null {
    const {instancePath: pointer, data, keyword} = error;
    if (keyword === "additionalProperties" && pointer === "/turns" && error.params["additionalProperty"] === "key")
        return "/turns/key: a key is not for the policy; give it to openTurns({key}), or set DELTASTORE_KEY.";
    if (keyword === "required") return describeMissing(pointer, data, String(error.params["missingProperty"]));
    if (["if", "propertyNames", "additionalProperties", "enum", "const"].includes(keyword)) return describeSchemaError(error);
    if (pointer === "/pool/limit" || pointer === "/turns/budget")
        return problem(pointer, data, `is not allowed; give ${sizeRule}${unitHint(data)}`);
    if (pointer === "/sharing/kept" || pointer === "/sharing/states")
        return problem(pointer, data, `is not allowed; give 0, or ${sizeRule}${unitHint(data)}`);
    if (pointer === "/turns/cold") return problem(pointer, data, 'is not allowed; give a list of steps such as {"after": "7d", "codec": "transform"}');
    if (/^\/turns\/cold\/\d+\/after$/.test(pointer)) return problem(pointer, data, `is not allowed; give ${ageRule}`);
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
    return describeSchemaError(error);
}

function describeMissing(pointer: string, data: unknown, field: string): string {
    const hints: Record<string, string> = {
        keep: "give a number from 0 to 1", share: "give 0, 0.1 or 0.2", tier: "give a tier's name", store: "give a folder or a Redis URL",
        after: `give ${ageRule}`, codec: `give ${quoteList(codecNames)}`
    };
    if (hints[field] !== undefined) return problem(pointer, data, `has no ${JSON.stringify(field)}; ${hints[field]}`);
    return pointer.startsWith("/rules/") ? problem(pointer, data, 'has neither "name" nor "tokens"; give one or both')
        : problem(pointer, data, 'has neither "format" nor "extends"; give one of them');
}
