import type {Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import {formatBytes} from "../policy/bytes.js";
import {loadPolicy, policyFromEnvironment} from "../policy/load.js";
import {resolveTier, type Policy, type Sharing, type Tier} from "../policy/tiers.js";
import {policyWarnings} from "../policy/warnings.js";
import {formatTable, printJson, printLine} from "./output.js";

interface CheckOptions {
    json?: boolean;
}

interface ShowOptions {
    policy?: string;
    json?: boolean;
}

/** Adds `policy check FILE` and `policy show TIER`. */
export function addPolicyCommand(program: Command): void {
    const policy = program.command("policy").description("check a policy file, or show what a tier means");
    policy.command("check")
        .description("check a policy file and print it with everything filled in")
        .argument("<file>", "policy file (JSON)")
        .option("--json", "print JSON")
        .action((file: string, options: CheckOptions) => check(file, options));
    policy.command("show")
        .description("show what a tier means")
        .argument("<tier>", "name of a built-in tier or of one in the policy file")
        .option("--policy <file>", "policy file (JSON; default: DELTASTORE_POLICY)")
        .option("--json", "print JSON")
        .action((tier: string, options: ShowOptions) => show(tier, options));
}

function check(file: string, {json}: CheckOptions): void {
    const policy = loadPolicy(pathOf(file)), warnings = policyWarnings(policy);
    if (json) return printJson({valid: true, warnings, file, policy: policyToJson(policy)});
    printLine(`${file} is valid.`);
    for (const warning of warnings) printLine(`warning: ${warning}`);
    printLine();
    printLine(formatTable([
        ["tier", "format", "important", "window", "sinks", "keeps", "evicts", ""],
        ...[...policy.tiers.values()].map(({name, format, important, window, windowFormat, sinks, eviction}) => [
            name, format, important === 0 ? "" : percent(important), `${window} ${windowFormat}`, String(sinks),
            eviction === null ? "all" : percent(eviction.keep),
            eviction === null ? "" : `every ${eviction.slack}: ${eviction.schedule}, ${eviction.scorer}`, name === policy.defaultTier ? "default" : ""
        ])
    ]));
    printLine();
    for (const {name, tokens, tier} of policy.rules)
        printLine(`rule: sequences${name === "*" ? "" : ` named "${name}"`}${tokens === 0 ? "" : ` of ${tokens} tokens or more`} have ${tier.name}`);
    printLine(`pool limit: ${policy.poolLimitBytes === 0 ? "none" : formatBytes(policy.poolLimitBytes)}`);
    if (policy.pressure !== null) {
        const {above, idle, window, tiers} = policy.pressure, steps = [`has a window of ${window}`, ...tiers.map(({name}) => `becomes ${name}`)];
        printLine(`pressure: above ${percent(above)} of it what was idle for ${idle} s ${steps.join(", then ")}`);
    }
    printLine(`sharing: ${formatSharing(policy.sharing)}`);
    if (policy.turns !== null) {
        const {store, history, ttl, budget, park} = policy.turns, until = ttl < Infinity ? `, dropped after ${ttl} s without use` : "";
        const within = budget < Infinity ? `, within ${formatBytes(budget)}` : "";
        printLine(`turns: ${history} of each conversation in ${store}${until}${within}${park === null ? "" : `; sequences go there after ${park} s`}`);
    }
    printLine(`with layers on a GPU: ${{host: "packed, in the machine's memory", stock: "the stock cache", error: "an error"}[policy.gpuLayers]}`);
    printLine(`when unsupported: ${policy.onUnsupported}`);
}

function show(name: string, {policy: file, json}: ShowOptions): void {
    const policy = loadPolicy(file === undefined ? policyFromEnvironment(process.env) : pathOf(file));
    const tier = resolveTier(policy, name);
    const isDefault = policy.defaultTier === name;
    if (json) return printJson({...tier, default: isDefault});
    printLine(formatTier(tier, isDefault));
}

function formatSharing({automatic, keptBytes, stateBytes, spacing, scope}: Sharing): string {
    if (!automatic) return "by store.fork only";
    const states = stateBytes === 0 ? "no states" : `states, ${spacing} tokens apart or more, in ${formatBytes(stateBytes)}`;
    const kept = keptBytes === 0 ? "no prefixes kept" : `prefixes kept in ${formatBytes(keptBytes)}, and ${states}`;
    return `automatic, ${kept}, within ${scope === "group" ? "named groups" : "a context"}`;
}

/** Here a bare word is always a file, never a built-in tier's name. */
function pathOf(file: string): string {
    if (file === "") throw new DeltaStoreError("OPTION_INVALID", "The policy file's name is empty.");
    return /[/\\]/.test(file) ? file : `./${file}`;
}

function policyToJson({tiers, rules, pressure, ...rest}: Policy): object {
    const nameOf = ({name}: Tier) => name;
    return {
        ...rest, rules: rules.map((rule) => ({...rule, tier: nameOf(rule.tier)})),
        pressure: pressure === null ? null : {...pressure, tiers: pressure.tiers.map(nameOf)}, tiers: Object.fromEntries(tiers)
    };
}

const formatMeanings: Readonly<Record<Tier["format"], string>> = {
    f16: "keys and values stay F16",
    k4v4: "keys and values in 4 bits",
    k4v2: "keys in 4 bits, values in 2 bits",
    k3v2: "keys in 3 bits, values in 2 bits"
};

const windowMeanings: Readonly<Record<Tier["windowFormat"], string>> = {f16: "F16", k8v8: "8 bits"};

const percent = (share: number) => `${Number((100 * share).toFixed(2))}%`;

function formatTier({name, format, window, windowFormat, sinks, important, eviction}: Tier, isDefault: boolean): string {
    const rows = [["tier", isDefault ? `${name} (default)` : name], ["format", `${format}: ${formatMeanings[format]}`]];
    if (format !== "f16" || eviction !== null) rows.push(
        ["window", `the newest ${window} tokens, at least: ${windowMeanings[windowFormat]}`], ["sinks", `the first ${sinks} tokens stay F16`]);
    if (important !== 0) rows.push(["values", `of about ${percent(important)} of the packed rows, those that matter most, have 4 bits`]);
    if (eviction !== null) rows.push(
        ["evict", `every ${eviction.slack} tokens, by "${eviction.scorer}"; "${eviction.schedule}" keeps ${percent(eviction.keep)}`]);
    return rows.map(([label, text]) => `${label!.padEnd(6)}  ${text}`).join("\n");
}
