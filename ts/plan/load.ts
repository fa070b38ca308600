import type {ErrorObject} from "ajv";
import {isRecord} from "../options.js";
import {mistakesIn, readJsonFile, schemaCheck} from "../policy/json-files.js";
import {describeSchemaError, problem, sentencesOf, sizeRule, unitHint} from "../policy/schema-problems.js";
import {contradictions} from "./contradictions.js";
import {overlaid} from "./layers.js";
import type {PlanFile} from "./plan-file.js";

/**
 * Reads and checks a scenario.
 * @param input a JSON file's path, the scenario itself, or undefined for the defaults
 * @param over fields that count more
 * @throws DeltaStoreError PLAN_INVALID with every mistake in `problems`; PLAN_NOT_FOUND for a file that can't be read
 */
export function readScenario(input: string | PlanFile | undefined, over: PlanFile = {}): PlanFile {
    if (typeof input !== "string") return checkScenario(input === undefined ? over : input, "The scenario");
    const what = `The scenario file ${input}`, {value, problems} = readJsonFile(input, what, {notFound: "PLAN_NOT_FOUND", invalid: "PLAN_INVALID"});
    return checkScenario(isRecord(value) ? overlaid(value, over) : value, what, problems);
}

const planCheck = schemaCheck<PlanFile>("plan", {strictTypes: false});

function checkScenario(input: unknown, what: string, textProblems: readonly string[] = []): PlanFile {
    const check = planCheck(), valid = check(input);
    const problems = [...textProblems, ...valid ? [] : sentencesOf(check.errors ?? [], describe), ...contradictions(isRecord(input) ? input : {})];
    if (problems.length > 0) throw mistakesIn(what, problems, "PLAN_INVALID");
    return input as PlanFile;
}

function describe(error: ErrorObject): string | null {
    const {instancePath: pointer, data, parentSchema = {}} = error, {type} = parentSchema as {type?: unknown};
    if (error.keyword === "additionalProperties" || error.keyword === "enum" || error.keyword === "const") return describeSchemaError(error);
    if (pointer === "/machine/memory") return problem(pointer, data, `is not allowed; give ${sizeRule}${unitHint(data)}`);
    if (pointer === "/caches") return problem(pointer, data, "is not allowed; give a list of different caches' names");
    if (error.keyword === "required" || Array.isArray(type) || /\/(low|high)$/.test(pointer)) {
        const {minimum = 0, maximum} = parentSchema as {minimum?: number; maximum?: number};
        return problem(pointer, data, `is not allowed; give a number from ${minimum} to ${maximum}, or a range such as {"low": 1, "high": 2}`);
    }
    if (type === "object" && error.keyword === "type" && (parentSchema as {properties?: unknown}).properties === undefined)
        return problem(pointer, data, "is not allowed; give an object with a cache's speeds for its name");
    return describeSchemaError(error);
}
