import type {Command} from "commander";
import {DeltaStoreError} from "../errors.js";
import {formatBytes} from "../policy/bytes.js";
import {codecNames, codecOf, type ColdCodec} from "../policy/codecs.js";
import {ageRule, parseAge, type ColdStep} from "../policy/cold.js";
import {openNative} from "../store/open-native.js";
import {isOfOne} from "../turns/cold/aging.js";
import type {Freezing} from "../turns/cold/freeze.js";
import type {Turns} from "../turns/turns.js";
import {exitCodes, formatTable, printJson, printLine} from "./output.js";
import {policyOf, printable, storeCommand, using, type StoreOptions} from "./turns-store.js";

interface FreezeCommandOptions extends StoreOptions {
    codec?: string;
    after?: string;
    ratio?: string;
    size?: string;
    parts?: string;
    threshold?: string;
    keyBits?: string;
    valueBits?: string;
    group?: string;
}

/** Adds `turns freeze`. */
export function addFreezeCommand(turns: Command): void {
    storeCommand(turns, "freeze [conversations...]", "store conversations in a smaller form; without names, those that their age makes due")
        .option("--codec <name>", `${codecNames.join(", ")} (default: as the policy's turns.cold says by age)`)
        .option("--after <age>", "without names: those that nobody used for so long, such as 7d")
        .option("--ratio <n>", "of transform: bytes of F16 rows to stored bytes")
        .option("--size <n>", "of vq: values that share a code word")
        .option("--parts <n>", "of pq: parts of a head")
        .option("--threshold <n>", "of vq and pq: the error above which a head's row stays F16")
        .option("--key-bits <n>", "of channel")
        .option("--value-bits <n>", "of channel")
        .option("--group <n>", "of channel: rows, or values, that share a scale and an offset")
        .action(async (names: string[], options: FreezeCommandOptions) => await using(options, (turns) => freeze(turns, names, options)));
}

async function freeze(turns: Turns, names: readonly string[], options: FreezeCommandOptions): Promise<void> {
    const codec = chosenCodec(options), steps = names.length === 0 ? stepsOf(codec, options) : null;
    if (steps === null && options.after !== undefined) throw new DeltaStoreError("OPTION_INVALID", "--after is for all conversations; leave their names out");
    if (steps === null && codec === null) throw new DeltaStoreError("OPTION_INVALID", `Which codec? Give --codec: ${codecNames.join(", ")}`);
    if ((steps ?? [{codec: codec!}]).some(({codec: {name}}) => name !== "tokens")) await openNative();
    if (steps !== null) {
        const {frozen, left} = await turns.freezeByAge(steps);
        return report(frozen, left.map(({conversation, error}) => ({conversation, code: error.code, message: error.message})), options);
    }
    const frozen: Frozen[] = [], left: Left[] = [], {name, ...rest} = codec!;
    for (const conversation of names) {
        try {
            frozen.push({conversation, ...await turns.freeze(conversation, {codec: name, ...rest})});
        } catch (error) {
            if (names.length === 1 || !isOfOne(error)) throw error;
            left.push({conversation, code: error.code, message: error.message});
        }
    }
    report(frozen, left, options);
}

function chosenCodec({codec, store: _, policy: __, json: ___, after: ____, ...options}: FreezeCommandOptions): ColdCodec | null {
    const numbers = Object.entries(options).map(([name, text]) => [name, /^\d+(\.\d+)?$/.test(text) ? Number(text) : text]);
    if (codec === undefined && numbers.length > 0)
        throw new DeltaStoreError("OPTION_INVALID", `${numbers.map(([name]) => name).join(", ")} needs a codec; give --codec: ${codecNames.join(", ")}`);
    return codec === undefined ? null : codecOf("turns freeze", {codec, ...Object.fromEntries(numbers) as object});
}

function stepsOf(codec: ColdCodec | null, options: FreezeCommandOptions): readonly ColdStep[] {
    const {after} = options, seconds = after === undefined ? undefined : parseAge(after);
    if (seconds === null) throw new DeltaStoreError("OPTION_INVALID", `--after is ${JSON.stringify(after)}; allowed is ${ageRule}`);
    if (codec !== null && seconds !== undefined) return [{after: seconds, codec}];
    const cold = codec === null && seconds === undefined ? policyOf(options)?.cold ?? [] : [];
    if (cold.length === 0) throw new DeltaStoreError("OPTION_INVALID", "Which conversations? Name them, or give --codec with --after, or a policy with turns.cold");
    return cold;
}

type Frozen = Freezing & {readonly conversation: string};
type Left = {readonly conversation: string; readonly code: string; readonly message: string};

function report(frozen: readonly Frozen[], left: readonly Left[], {json}: StoreOptions): void {
    if (left.length > 0) process.exitCode = exitCodes.failure;
    if (json) return printJson({frozen, left});
    if (frozen.length === 0 && left.length === 0) return printLine("No conversation is due.");
    printLine(formatTable([
        ["conversation", "codec", "turns", "before", "after"],
        ...frozen.map(({conversation, codec, turns, bytesBefore, bytesAfter}) =>
            [printable(conversation), codec.name, String(turns), formatBytes(bytesBefore), formatBytes(bytesAfter)])
    ]));
    for (const {conversation, code, message} of left) printLine(`${printable(conversation)} stays as it is: ${code}: ${message}`);
}
