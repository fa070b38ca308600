import {existsSync, readFileSync} from "node:fs";
import {Ajv, type ValidateFunction} from "ajv";
import {DeltaStoreError} from "../errors.js";
import {parseBytes} from "./bytes.js";
import {parseJsonText} from "./json-text.js";
import {didYouMean, quoteList} from "./nearest.js";
import type {PolicyFile, PolicyTier} from "./policy-file.js";
import {describeSchemaErrors, pointerTo, problem} from "./problems.js";
import {
    builtInTiers, defaultEviction, defaultSharing, defaultSinks, defaultTierName, defaultWindow, defaultWindowFormat, hasCoarseValues,
    stockCacheName, unknownTier, type Policy, type Tier
} from "./tiers.js";

const tierNamePattern = /^[a-z][a-z0-9-]*$/;

/**
 * Checks a policy and fills in what it leaves out.
 * @param input a tier's name, the path of a JSON file, the policy itself, or undefined for the defaults.
 * @throws DeltaStoreError POLICY_INVALID with every mistake in `problems`; POLICY_NOT_FOUND for a file that can't be
 *     read; TIER_UNKNOWN for a word that is neither a built-in tier nor a file; OPTION_INVALID for an empty string.
 */
export function loadPolicy(input: string | PolicyFile | undefined): Policy {
    return completePolicy(readPolicy(input));
}

/** What `loadPolicy` takes, checked as it does, with nothing filled in. */
export function readPolicy(input: string | PolicyFile | undefined): PolicyFile {
    if (input === undefined) return {};
    if (typeof input !== "string") return checkPolicy(input, "The policy");
    if (input.trim() === "")
        throw new DeltaStoreError("OPTION_INVALID", `policy is ${JSON.stringify(input)}; give a built-in tier's name or a policy file's path`);
    if (builtInTiers.has(input)) return {default: input};
    if (tierNamePattern.test(input) && !existsSync(input))
        throw unknownTier(input, [...builtInTiers.keys()], " and no file has this path");
    const {value, problems} = readPolicyFile(input);
    const what = `The policy file ${input}`;
    // What is no object after syntax errors says nothing about the fields that were meant.
    if (problems.length > 0 && !isRecord(value)) throw invalid(what, problems);
    return checkPolicy(value, what, problems);
}

/** What DELTASTORE_POLICY says: a path or a built-in tier's name; undefined when it is unset or empty. */
export function policyFromEnvironment(env: NodeJS.ProcessEnv): string | undefined {
    return env["DELTASTORE_POLICY"]?.trim() || undefined;
}

let validate: ValidateFunction<PolicyFile> | undefined;

function schemaCheck(): ValidateFunction<PolicyFile> {
    if (validate === undefined) {
        const schemaUrl = new URL("../../config-schema/policy.schema.json", import.meta.url);
        const ajv = new Ajv({allErrors: true, verbose: true, allowUnionTypes: true, strictRequired: false});
        validate = ajv.compile<PolicyFile>(JSON.parse(readFileSync(schemaUrl, "utf8")));
    }
    return validate;
}

function readPolicyFile(path: string): {value: unknown; problems: string[]} {
    let text: string;
    try {
        text = readFileSync(path, "utf8");
    } catch (error) {
        throw new DeltaStoreError(
            "POLICY_NOT_FOUND", `The policy file ${path} can't be read: ${(error as Error).message}`, {cause: error});
    }
    const {value, problems} = parseJsonText(text);
    return {value, problems: problems.map(({message, line, column}) => `Line ${line}, column ${column}: ${message}.`)};
}

function checkPolicy(input: unknown, what: string, textProblems: readonly string[] = []): PolicyFile {
    const check = schemaCheck();
    const valid = check(input);
    const file = asRecord(input) as PolicyFile;
    const names = allTierNames(file);
    const problems = [
        ...textProblems,
        ...valid ? [] : describeSchemaErrors(check.errors ?? [], names),
        ...contradictions(file, names)
    ];
    if (problems.length > 0) throw invalid(what, problems);
    return file;
}

function completePolicy(file: PolicyFile): Policy {
    const tiers = new Map(builtInTiers);
    for (const [name, tier] of Object.entries(file.tiers ?? {})) tiers.set(name, completeTier(name, tier));
    const limit = file.pool?.limit;
    return {
        tiers,
        defaultTier: file.default ?? defaultTierName,
        poolLimitBytes: bytesOf(limit) ?? 0,
        sharing: {automatic: file.sharing?.automatic ?? defaultSharing.automatic, keptBytes: bytesOf(file.sharing?.kept) ?? defaultSharing.keptBytes, scope: file.sharing?.scope ?? defaultSharing.scope},
        onUnsupported: file.onUnsupported ?? "error"
    };
}

/**
 * What the schema can't say. The input may be anything that failed the schema, so that both kinds of mistake are
 * reported at once; what the schema already refuses is left to it.
 */
function contradictions(file: PolicyFile, tierNames: readonly string[]): string[] {
    const problems: string[] = [];
    const {default: chosen} = file;
    if (typeof chosen === "string" && tierNamePattern.test(chosen) && chosen !== stockCacheName &&
        !tierNames.includes(chosen))
        problems.push(problem("/default", chosen,
            `is no tier; allowed are ${quoteList(tierNames)}${didYouMean(chosen, tierNames)}`));

    for (const [name, value] of Object.entries(asRecord(file.tiers))) {
        const tier = asRecord(value) as PolicyTier;
        const format = tier.format ?? builtInTiers.get(tier.extends ?? "")?.format;
        const refines = Boolean(asRecord(tier.important)["share"]);
        if (refines && format !== undefined && !hasCoarseValues(format))
            problems.push(problem(pointerTo(pointerTo("/tiers", name), "important"), tier.important,
                `contradicts the format "${format}", whose values have at least 4 bits; leave it out, or choose "k4v2" or "k3v2"`));
        if (refines && tier.window === 0)
            problems.push(problem(pointerTo(pointerTo("/tiers", name), "important"), tier.important,
                "contradicts the window 0: which rows matter is seen in the window; give a larger one, or leave it out"));
        if (format !== "f16") continue;
        if (tier.windowFormat !== undefined)
            problems.push(problem(pointerTo(pointerTo("/tiers", name), "windowFormat"), tier.windowFormat,
                'contradicts the format "f16", which keeps all rows F16; leave it out, or choose "k4v4", "k4v2" or "k3v2"'));
        for (const field of ["window", "sinks"] as const) {
            if (tier[field] !== undefined && tier.evict === undefined)
                problems.push(problem(pointerTo(pointerTo("/tiers", name), field), tier[field],
                    'contradicts the format "f16", which keeps all rows F16; leave it out, give "evict", or choose "k4v4", "k4v2" or "k3v2"'));
        }
    }

    for (const [pointer, given, least, without] of [
        ["/pool/limit", asRecord(file.pool)["limit"], 1, "no limit"], ["/sharing/kept", asRecord(file.sharing)["kept"], 0, "the default"]
    ] as const) {
        const bytes = typeof given === "string" ? parseBytes(given) : null;
        if (bytes !== null && (bytes < least || !Number.isSafeInteger(bytes)))
            problems.push(problem(pointer, given, `comes to ${bytes} bytes; give from ${least} to ${Number.MAX_SAFE_INTEGER} bytes, or leave it out for ${without}`));
    }
    return problems;
}

function bytesOf(value: number | string | undefined): number | undefined {
    return typeof value === "string" ? parseBytes(value)! : value;
}

function completeTier(name: string, tier: PolicyTier): Tier {
    const base = builtInTiers.get(tier.extends ?? "");
    const format = tier.format ?? base!.format, window = tier.window ?? base?.window ?? defaultWindow;
    return {
        name,
        format,
        window,
        windowFormat: format === "f16" ? "f16" : tier.windowFormat ?? defaultWindowFormat,
        sinks: tier.sinks ?? base?.sinks ?? defaultSinks,
        important: hasCoarseValues(format) && window > 0 ? tier.important?.share ?? base?.important ?? 0 : 0,
        eviction: tier.evict === undefined ? base?.eviction ?? null : {...defaultEviction, ...base?.eviction, ...tier.evict}
    };
}

function allTierNames(file: PolicyFile): string[] {
    const own = Object.keys(asRecord(file.tiers)).filter(
        (name) => tierNamePattern.test(name) && name !== stockCacheName);
    return [...new Set([...builtInTiers.keys(), ...own])];
}

function asRecord(value: unknown): Record<string, unknown> {
    return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Record<string, unknown> {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(what: string, problems: readonly string[]): DeltaStoreError {
    const count = problems.length === 1 ? "a mistake" : `${problems.length} mistakes`;
    return new DeltaStoreError("POLICY_INVALID", `${what} has ${count}:\n${problems.join("\n")}`, {problems});
}
