import {readFileSync} from "node:fs";
import {Ajv, type ErrorObject, type ValidateFunction} from "ajv";
import {DeltaStoreError} from "../errors.js";
import {isRecord} from "../options.js";
import {parseJsonText} from "../policy/json-text.js";
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
    let text: string;
    try {
        text = readFileSync(input, "utf8");
    } catch (error) {
        throw new DeltaStoreError("PLAN_NOT_FOUND", `The scenario file ${input} can't be read: ${(error as Error).message}`, {cause: error});
    }
    const {value, problems} = parseJsonText(text), what = `The scenario file ${input}`;
    const sentences = problems.map(({message, line, column}) => `Line ${line}, column ${column}: ${message}.`);
    if (sentences.length > 0 && !isRecord(value)) throw invalid(what, sentences);
    return checkScenario(isRecord(value) ? overlaid(value, over) : value, what, sentences);
}

let validate: ValidateFunction<PlanFile> | undefined;

function schemaCheck(): ValidateFunction<PlanFile> {
    if (validate === undefined) {
        const schemaUrl = new URL("../../config-schema/plan.schema.json", import.meta.url);
        const ajv = new Ajv({allErrors: true, verbose: true, allowUnionTypes: true, strictTypes: false});
        validate = ajv.compile<PlanFile>(JSON.parse(readFileSync(schemaUrl, "utf8")));
    }
    return validate;
}

function checkScenario(input: unknown, what: string, textProblems: readonly string[] = []): PlanFile {
    const check = schemaCheck(), valid = check(input);
    const problems = [...textProblems, ...valid ? [] : sentencesOf(check.errors ?? [], describe), ...contradictions(isRecord(input) ? input : {})];
    if (problems.length > 0) throw invalid(what, problems);
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

function invalid(what: string, problems: readonly string[]): DeltaStoreError {
    const count = problems.length === 1 ? "a mistake" : `${problems.length} mistakes`;
    return new DeltaStoreError("PLAN_INVALID", `${what} has ${count}:\n${problems.join("\n")}`, {problems});
}
