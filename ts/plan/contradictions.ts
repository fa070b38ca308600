import {existsSync} from "node:fs";
import {DeltaStoreError} from "../errors.js";
import {isRecord} from "../options.js";
import {loadPolicy} from "../policy/load.js";
import {parseBytes} from "../policy/bytes.js";
import {pointerTo, problem} from "../policy/schema-problems.js";
import {builtInTiers} from "../policy/tiers.js";
import {facilities, machines, regions, shapes, unknownName} from "./facts.js";
import {overlaid} from "./layers.js";
import {presetNames, readPreset} from "./presets.js";
import {stockCaches} from "./scenario.js";

const rangePointers = [
    "/disk/usdPerGbMonth", "/machine/idleWatts", "/machine/serverWatts", "/machine/embodiedKg", "/machine/serverEmbodiedKg", "/machine/usdPerHour", "/region/gridKgPerKwh",
    "/region/marketKgPerKwh", "/region/pue", "/region/waterOnSite", "/region/waterOffSite"
];

function valueAt(file: unknown, pointer: string): unknown {
    return pointer.slice(1).split("/").reduce<unknown>((value, field) => isRecord(value) ? value[field] : undefined, file);
}

/** Mistakes that the schema can't express. The input may be anything that failed the schema; what the schema refuses is left to it. */
export function contradictions(file: Record<string, unknown>): string[] {
    const problems: string[] = [], at = (pointer: string) => valueAt(file, pointer), {preset} = file;
    const known = (pointer: string, names: readonly string[]) => {
        const name = at(pointer);
        if (typeof name === "string" && name !== "" && !names.includes(name)) problems.push(problem(pointer, name, unknownName(name, names)));
    };
    known("/preset", presetNames());
    known("/model/name", Object.keys(shapes()));
    known("/machine/name", Object.keys(machines()));
    known("/region/name", Object.keys(regions()));
    known("/region/facility", Object.keys(facilities()));
    const caches = [...Object.keys(stockCaches), ...tierNames(file["policy"], problems)];
    for (const [index, name] of (Array.isArray(file["caches"]) ? file["caches"] : []).entries())
        if (typeof name === "string" && !caches.includes(name)) problems.push(problem(`/caches/${index}`, name, unknownName(name, caches)));
    const measured = at("/machine/measured"), memory = at("/machine/memory"), bench = at("/machine/bench");
    for (const [name, speeds] of Object.entries(isRecord(measured) ? measured : {}))
        if (!caches.includes(name)) problems.push(problem(pointerTo("/machine/measured", name), speeds, `is of no cache: ${JSON.stringify(name)} ${unknownName(name, caches)}`));
    if (typeof memory === "string" && parseBytes(memory) === 0) problems.push(problem("/machine/memory", memory, "is less than a byte"));
    if (typeof bench === "string" && bench !== "" && !existsSync(bench)) problems.push(problem("/machine/bench", bench, "is no file"));
    for (const pointer of rangePointers) {
        const range = at(pointer);
        if (isRecord(range) && typeof range["low"] === "number" && typeof range["high"] === "number" && range["low"] > range["high"])
            problems.push(problem(pointer, range, 'has a "low" above its "high"'));
    }
    const whole = typeof preset === "string" && presetNames().includes(preset) ? overlaid(readPreset(preset).scenario, file) : file;
    return [...problems, ...betweenFields(whole)];
}

/** Of a scenario with its preset's fields. */
function betweenFields(file: object): string[] {
    const problems: string[] = [], at = (pointer: string) => valueAt(file, pointer);
    const machine = at("/machine/name") ?? "h100", provider = at("/machine/provider");
    if (typeof machine === "string" && Object.hasOwn(machines(), machine) && typeof provider === "string" && provider !== "") {
        const providers = [...new Set(machines()[machine]!.prices.map((price) => price.provider))];
        if (!providers.includes(provider)) problems.push(problem("/machine/provider", provider, `has no price of ${machine}: it ${unknownName(provider, providers)}`));
    }
    const shared = at("/context/sharedTokens"), tokens = at("/context/tokens") ?? 4096;
    if (isCount(shared) && isCount(tokens) && shared > tokens) problems.push(problem("/context/sharedTokens", shared, `is more than the conversation's ${tokens} tokens`));
    const rate = at("/turns/outputRate"), least = at("/turns/leastSpeed") ?? 10;
    if (typeof rate === "number" && typeof least === "number" && least >= 0.1 && rate > least)
        problems.push(problem("/turns/outputRate", rate, `is more than the ${least} tokens a second that a user sees at least; give turns.leastSpeed as much`));
    return problems;
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0;

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
