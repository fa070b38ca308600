import {existsSync} from "node:fs";
import {DeltaStoreError} from "../errors.js";
import {given} from "../options.js";
import {parseBytes} from "./bytes.js";
import {coldSteps} from "./cold.js";
import {allTierNames, asRecord, contradictions, tierNamePattern} from "./contradictions.js";
import {mistakesIn, readJsonFile, schemaCheck} from "./json-files.js";
import type {PolicyFile, PolicyTier} from "./policy-file.js";
import {describePolicyErrors} from "./problems.js";
import {
    builtInTiers, defaultEviction, defaultPressure, defaultSharing, defaultSinks, defaultTierName, defaultTurns, defaultWindow, defaultWindowFormat, hasCoarseValues,
    unknownTier, type Policy, type Tier
} from "./tiers.js";

/**
 * Checks a policy and fills in what it leaves out.
 * @param input a tier's name, the path of a JSON file, the policy itself, or undefined for the defaults.
 * @throws DeltaStoreError POLICY_INVALID with every mistake in `problems`; POLICY_NOT_FOUND for a file that can't be
 *     read; TIER_UNKNOWN for a word that is neither a built-in tier nor a file; OPTION_INVALID for an empty string.
 */
export function loadPolicy(input: string | PolicyFile | undefined): Policy {
    return completePolicy(readPolicy(input));
}

/** Takes and checks what `loadPolicy` does, and fills in nothing. */
export function readPolicy(input: string | PolicyFile | undefined): PolicyFile {
    if (input === undefined) return {};
    if (typeof input !== "string") return checkPolicy(input, "The policy");
    if (input.trim() === "")
        throw new DeltaStoreError("OPTION_INVALID", `policy is ${JSON.stringify(input)}; give a built-in tier's name or a policy file's path`);
    if (builtInTiers.has(input)) return {default: input};
    if (tierNamePattern.test(input) && !existsSync(input))
        throw unknownTier(input, [...builtInTiers.keys()], " and no file has this path");
    const what = `The policy file ${input}`, {value, problems} = readJsonFile(input, what, {notFound: "POLICY_NOT_FOUND", invalid: "POLICY_INVALID"});
    return checkPolicy(value, what, problems);
}

/** What DELTASTORE_POLICY says: a path or a built-in tier's name. Undefined if it is unset or empty. */
export function policyFromEnvironment(env: NodeJS.ProcessEnv): string | undefined {
    return env["DELTASTORE_POLICY"]?.trim() || undefined;
}

const policyCheck = schemaCheck<PolicyFile>("policy", {strictRequired: false});

function checkPolicy(input: unknown, what: string, textProblems: readonly string[] = []): PolicyFile {
    const check = policyCheck();
    const valid = check(input);
    const file = asRecord(input) as PolicyFile;
    const names = allTierNames(file);
    const problems = [
        ...textProblems,
        ...valid ? [] : describePolicyErrors(check.errors ?? [], names),
        ...contradictions(file, names)
    ];
    if (problems.length > 0) throw mistakesIn(what, problems, "POLICY_INVALID");
    return file;
}

function completePolicy(file: PolicyFile): Policy {
    const tiers = new Map(builtInTiers);
    for (const [name, tier] of Object.entries(file.tiers ?? {})) tiers.set(name, completeTier(name, tier));
    const {limit, pressure} = file.pool ?? {}, {sharing = {}} = file, {turns} = file;
    return {
        tiers,
        defaultTier: file.default ?? defaultTierName,
        rules: (file.rules ?? []).map(({name = "*", tokens = 0, tier}) => ({name, tokens, tier: tiers.get(tier)!})),
        poolLimitBytes: bytesOf(limit) ?? 0,
        pressure: pressure === undefined ? null : {...defaultPressure, ...given(pressure), tiers: (pressure.tiers ?? []).map((name) => tiers.get(name)!)},
        sharing: {
            automatic: sharing.automatic ?? defaultSharing.automatic, scope: sharing.scope ?? defaultSharing.scope,
            keptBytes: bytesOf(sharing.kept) ?? defaultSharing.keptBytes, stateBytes: bytesOf(sharing.states) ?? defaultSharing.stateBytes,
            spacing: sharing.spacing ?? defaultSharing.spacing
        },
        turns: turns === undefined ? null : {...defaultTurns, ...given(turns), budget: bytesOf(turns.budget) ?? defaultTurns.budget, cold: coldSteps(turns.cold ?? [])},
        gpuLayers: file.gpuLayers ?? "host",
        onUnsupported: file.onUnsupported ?? "error"
    };
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
        eviction: tier.evict === undefined ? base?.eviction ?? null : {...defaultEviction, ...base?.eviction, ...given(tier.evict)}
    };
}
