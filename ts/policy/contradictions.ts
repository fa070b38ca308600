import {parseBytes} from "./bytes.js";
import {coldProblems} from "./cold.js";
import {didYouMean, quoteList} from "../nearest.js";
import {isRecord} from "../options.js";
import type {PolicyFile, PolicyTier} from "./policy-file.js";
import {pointerTo, problem} from "./schema-problems.js";
import {builtInTiers, hasCoarseValues, stockCacheName} from "./tiers.js";

export const tierNamePattern = /^[a-z][a-z0-9-]*$/;

/**
 * Mistakes that the schema can't express. The input may be anything that failed the schema: so mistakes of both kinds are
 * reported at once. What the schema refuses is left to it.
 */
export function contradictions(file: PolicyFile, tierNames: readonly string[]): string[] {
    const problems: string[] = [];
    const named = (pointer: string, name: unknown) => {
        if (typeof name === "string" && !tierNames.includes(name))
            problems.push(problem(pointer, name, `is no tier; allowed are ${quoteList(tierNames)}${didYouMean(name, tierNames)}`));
    };
    const {default: chosen} = file, pool = asRecord(file.pool), {tiers: pressed} = asRecord(pool["pressure"]);
    // The schema refuses other names.
    if (typeof chosen === "string" && tierNamePattern.test(chosen) && chosen !== stockCacheName) named("/default", chosen);
    for (const [index, rule] of asArray(file.rules).entries()) named(`/rules/${index}/tier`, asRecord(rule)["tier"]);
    for (const [index, name] of asArray(pressed).entries()) named(`/pool/pressure/tiers/${index}`, name);
    if (pool["pressure"] !== undefined && pool["limit"] === undefined)
        problems.push(problem("/pool/pressure", pool["pressure"], 'has no effect without a limit; give "pool" a "limit", or leave it out'));

    for (const [name, value] of Object.entries(asRecord(file.tiers))) {
        const tier = asRecord(value) as PolicyTier;
        const format = tier.format ?? builtInTiers.get(tier.extends ?? "")?.format;
        const refines = Boolean(asRecord(tier.important)["share"]);
        if (refines && format !== undefined && !hasCoarseValues(format))
            problems.push(problem(pointerTo(pointerTo("/tiers", name), "important"), tier.important,
                `contradicts the format "${format}", whose values have at least 4 bits; leave it out, or choose "k4v2" or "k3v2"`));
        if (refines && tier.window === 0)
            problems.push(problem(pointerTo(pointerTo("/tiers", name), "important"), tier.important,
                "contradicts the window 0: rows show in the window how much they matter; give a larger one, or leave it out"));
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

    problems.push(...coldProblems(asArray(asRecord(file.turns)["cold"])));
    const sharing = asRecord(file.sharing);
    for (const [pointer, given, least, without] of [
        ["/pool/limit", pool["limit"], 1, "no limit"], ["/sharing/kept", sharing["kept"], 0, "the default"],
        ["/sharing/states", sharing["states"], 0, "the default"]
    ] as const) {
        const bytes = typeof given === "string" ? parseBytes(given) : null;
        if (bytes !== null && (bytes < least || !Number.isSafeInteger(bytes)))
            problems.push(problem(pointer, given, `comes to ${bytes} bytes; give from ${least} to ${Number.MAX_SAFE_INTEGER} bytes, or leave it out for ${without}`));
    }
    return problems;
}

export function allTierNames(file: PolicyFile): string[] {
    const own = Object.keys(asRecord(file.tiers)).filter(
        (name) => tierNamePattern.test(name) && name !== stockCacheName);
    return [...new Set([...builtInTiers.keys(), ...own])];
}

export function asRecord(value: unknown): Record<string, unknown> {
    return isRecord(value) ? value : {};
}

function asArray(value: unknown): readonly unknown[] {
    return Array.isArray(value) ? value : [];
}
