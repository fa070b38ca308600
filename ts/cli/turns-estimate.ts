import {InvalidArgumentError, type Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import type {ColdCost} from "../plan/cold.js";
import {formatBytes} from "../policy/bytes.js";
import {codecText} from "../policy/codecs.js";
import {wholeNumber} from "./options.js";
import {formatTable, printJson, printLine} from "./output.js";

/** Prices of a single one have many zeros. */
const conversations = 1000;

interface EstimateOptions {
    tokens: number;
    diskPrice: number;
    cpuPrice: number;
    returns: number;
    model: string;
    json?: boolean;
}

/** Adds `turns estimate`. */
export function addEstimateCommand(turns: Command): void {
    turns.command("estimate")
        .description("say what a conversation costs a month with each codec, and which is the cheapest")
        .option("--tokens <n>", "tokens of a conversation", wholeNumber(1, 2 ** 24), 4000)
        .requiredOption("--disk-price <n>", "of a GB and month", numberUpTo(Infinity))
        .requiredOption("--cpu-price <n>", "of a core and hour", numberUpTo(Infinity))
        .option("--returns <share>", "share of the conversations that are opened in a month", numberUpTo(1), 0.05)
        .option("--model <name>", "a model's shape, as `plan` has it", "smollm2-135m")
        .option("--json", "print JSON")
        .action(estimate);
}

function numberUpTo(most: number): (text: string) => number {
    return (text) => {
        const value = Number(text);
        if (text.trim() !== "" && value >= 0 && value <= most && value < Infinity) return value;
        throw new InvalidArgumentError(`Give a number from 0 ${most === Infinity ? "on" : `to ${most}`}.`);
    };
}

async function estimate({model: name, json, ...given}: EstimateOptions): Promise<void> {
    const [{cold, shapes, unknownName}, {coldCosts}] = await Promise.all([import("../plan/facts.js"), import("../plan/cold.js")]);
    const model = Object.hasOwn(shapes(), name) ? shapes()[name] : undefined, facts = cold();
    if (model === undefined) throw new DeltaStoreError("OPTION_INVALID", `--model: ${JSON.stringify(name)} ${unknownName(name, Object.keys(shapes()))}`);
    const costs = coldCosts({...given, model}, facts);
    if (json) return printJson({...given, model: name, source: facts.source, date: facts.date, codecs: costs});
    printLine(`${conversations.toLocaleString("en")} conversations of ${given.tokens} tokens, in a month:\n`);
    printLine(formatTable([["codec", "one at rest", "restored in", "disk", "processor", "both", "cheapest at GB-month prices"], ...costs.map(rowOf)]));
    printLine(`\nThe cheapest is ${costs[0]!.codec}. All but packed and tokens lose a little.`);
    printLine(`Measured by ${facts.source} (${facts.date}), and taken in proportion.`);
}

function rowOf({codec, options, bytes, seconds, disk, cpu, cheapest}: ColdCost): string[] {
    return [
        codecText({name: codec, ...options}), formatBytes(Math.round(bytes)), `${digits(seconds)} s`,
        ...[disk, cpu, disk + cpu].map((price) => digits(conversations * price)),
        cheapest === null ? "never" : cheapest.to === Infinity ? `from ${digits(cheapest.from)} on` : `${digits(cheapest.from)} to ${digits(cheapest.to)}`
    ];
}

/** Three that count. */
const digits = (value: number): string => String(Number(value.toPrecision(3)));
