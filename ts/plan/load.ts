import {existsSync, readFileSync} from "node:fs";
import {Ajv, type ErrorObject, type ValidateFunction} from "ajv";
import {DeltaStoreError} from "../errors.js";
import {isRecord} from "../options.js";
import {parseJsonText} from "../policy/json-text.js";
import {loadPolicy} from "../policy/load.js";
import {describeSchemaError, pointerTo, problem, sentencesOf, sizeRule, unitHint} from "../policy/schema-problems.js";
import {builtInTiers} from "../policy/tiers.js";
import {facilities, machines, regions, shapes, unknownName} from "./facts.js";
import type {PlanFile} from "./plan-file.js";
import {presetNames} from "./presets.js";
import {stockCaches} from "./scenario.js";

/**
 * Reads and checks a scenario.
 * @param input a JSON file's path, the scenario itself, or undefined for the defaults
 * @throws DeltaStoreError PLAN_INVALID with every mistake in `problems`; PLAN_NOT_FOUND for a file that can't be read
 */
export function readScenario(input: string | PlanFile | undefined): PlanFile {
    if (typeof input !== "string") return checkScenario(input === undefined ? {} : input, "The scenario");
    let text: string;
    try {
        text = readFileSync(input, "utf8");
    } catch (error) {
        throw new DeltaStoreError("PLAN_NOT_FOUND", `The scenario file ${input} can't be read: ${(error as Error).message}`, {cause: error});
    }
    const {value, problems} = parseJsonText(text), what = `The scenario file ${input}`;
    const sentences = problems.map(({message, line, column}) => `Line ${line}, column ${column}: ${message}.`);
    if (sentences.length > 0 && !isRecord(value)) throw invalid(what, sentences);
    return checkScenario(value, what, sentences);
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
    if (error.keyword === "required" || Array.isArray(type))
        return problem(pointer, data, 'is not allowed; give a number from 0 on, or a range such as {"low": 1, "high": 2}');
    if (type === "object" && error.keyword === "type" && (parentSchema as {properties?: unknown}).properties === undefined)
        return problem(pointer, data, "is not allowed; give an object with a cache's speeds for its name");
    return describeSchemaError(error);
}

/** Mistakes that the schema can't express. What the schema refuses is left to it. */
function contradictions(file: Record<string, unknown>): string[] {
    const problems: string[] = [];
    const at = (pointer: string) => pointer.slice(1).split("/").reduce<unknown>((value, field) => isRecord(value) ? value[field] : undefined, file);
    const known = (pointer: string, names: readonly string[]) => {
        const name = at(pointer);
        if (typeof name === "string" && name !== "" && !names.includes(name)) problems.push(problem(pointer, name, unknownName(name, names)));
    };
    known("/preset", presetNames());
    known("/model/name", Object.keys(shapes()));
    known("/machine/name", Object.keys(machines()));
    known("/region/name", Object.keys(regions()));
    known("/region/facility", Object.keys(facilities()));
    const machineName = at("/machine/name") ?? "h100";
    if (typeof machineName === "string" && Object.hasOwn(machines(), machineName))
        known("/machine/provider", [...new Set(machines()[machineName]!.prices.map(({provider}) => provider))]);
    const caches = [...Object.keys(stockCaches), ...tierNames(file["policy"], problems)];
    for (const [index, name] of (Array.isArray(file["caches"]) ? file["caches"] : []).entries())
        if (typeof name === "string" && !caches.includes(name)) problems.push(problem(`/caches/${index}`, name, unknownName(name, caches)));
    const measured = at("/machine/measured");
    for (const [name, speeds] of Object.entries(isRecord(measured) ? measured : {}))
        if (!caches.includes(name)) problems.push(problem(pointerTo("/machine/measured", name), speeds, `is of no cache: ${JSON.stringify(name)} ${unknownName(name, caches)}`));
    const shared = at("/context/sharedTokens"), tokens = at("/context/tokens") ?? 4096;
    if (Number.isInteger(shared) && Number.isInteger(tokens) && (tokens as number) > 0 && (shared as number) > (tokens as number))
        problems.push(problem("/context/sharedTokens", shared, `is more than the conversation's ${String(tokens)} tokens`));
    for (const pointer of rangePointers) {
        const range = at(pointer);
        if (isRecord(range) && typeof range["low"] === "number" && typeof range["high"] === "number" && range["low"] > range["high"])
            problems.push(problem(pointer, range, 'has a "low" above its "high"'));
    }
    if (at("/machine/bench") !== undefined && !existsSync(String(at("/machine/bench")))) problems.push(problem("/machine/bench", at("/machine/bench"), "is no file"));
    return problems;
}

const rangePointers = [
    "/disk/usdPerGbMonth", "/machine/idleWatts", "/machine/usdPerHour", "/region/gridKgPerKwh", "/region/marketKgPerKwh", "/region/pue", "/region/waterOnSite",
    "/region/waterOffSite"
];

/** A policy's mistakes are told beside the scenario's. */
function tierNames(policy: unknown, problems: string[]): string[] {
    if (typeof policy !== "string" || policy === "") return [...builtInTiers.keys()];
    try {
        return [...loadPolicy(policy).tiers.keys()];
    } catch (error) {
        if (!(error instanceof DeltaStoreError)) throw error;
        problems.push(problem("/policy", policy, `can't be used: ${error.message.replaceAll("\n", " ")}`));
        return [...builtInTiers.keys()];
    }
}

function invalid(what: string, problems: readonly string[]): DeltaStoreError {
    const count = problems.length === 1 ? "a mistake" : `${problems.length} mistakes`;
    return new DeltaStoreError("PLAN_INVALID", `${what} has ${count}:\n${problems.join("\n")}`, {problems});
}
