import {inspect} from "node:util";
import {didYouMean, quoteList} from "../nearest.js";
import {invalid, isRecord} from "../options.js";

export type CodecName = "transform" | "vq" | "pq" | "channel" | "tokens";

/** Options of the codecs that cold conversations are stored with. Each codec has some of them. */
export interface CodecOptions {
    /** Of `transform`: bytes of F16 rows to bytes that are stored, about. */
    readonly ratio?: number;
    /** Of `vq`: values that share a code word. */
    readonly size?: number;
    /** Of `pq`: parts of a head, each of which has a code word. */
    readonly parts?: number;
    /** Of `vq` and `pq`: a head's row whose relative squared error is above this stays F16. With 0 none does. */
    readonly threshold?: number;
    /** Of `channel`. */
    readonly keyBits?: number;
    readonly valueBits?: number;
    /** Of `channel`: rows (of keys) or values (of a row) that share a scale and an offset. */
    readonly group?: number;
}

/** A codec with all of its options. */
export interface ColdCodec extends CodecOptions {
    readonly name: CodecName;
}

type OptionName = keyof CodecOptions;

interface Rule {
    readonly default: number;
    /** Either the numbers that are allowed, or least and most. */
    readonly allowed: readonly number[] | {readonly least: number; readonly most: number; readonly whole: boolean};
}

const threshold: Rule = {default: 0, allowed: {least: 0, most: 1, whole: false}};
const bits: Rule = {default: 2, allowed: {least: 1, most: 8, whole: true}};

/** Those of each codec. `tokens` keeps no rows. */
const rules: Readonly<Record<CodecName, Readonly<Partial<Record<OptionName, Rule>>>>> = {
    transform: {ratio: {default: 12, allowed: {least: 2, most: 64, whole: false}}},
    vq: {size: {default: 4, allowed: [2, 4, 8]}, threshold},
    pq: {parts: {default: 8, allowed: [2, 4, 8, 16, 32]}, threshold},
    channel: {keyBits: bits, valueBits: bits, group: {default: 64, allowed: [16, 32, 64]}},
    tokens: {}
};

export const codecNames = Object.keys(rules) as readonly CodecName[];
const codecOptionNames = [...new Set(Object.values(rules).flatMap((options) => Object.keys(options)))] as readonly OptionName[];

export const optionsOf = (codec: CodecName): readonly OptionName[] => Object.keys(rules[codec]) as OptionName[];

/** `transform (ratio 12)` */
export function codecText({name, ...options}: CodecOptions & {readonly name: string}): string {
    const given = Object.entries(options).map(([option, value]) => `${option} ${value}`).join(", ");
    return given === "" ? name : `${name} (${given})`;
}

/**
 * The codec that options name, with the defaults of those that are left out.
 * @param method whose options they are
 * @param place what stands before an option's name in a list of steps, such as `cold[0].`
 * @throws DeltaStoreError OPTION_INVALID: none or an unknown codec, an option that it does not have, or a value that is not allowed
 */
export function codecOf(method: string, options: unknown, place = ""): ColdCodec {
    if (!isRecord(options))
        throw invalid(`${method}'s options are ${inspect(options, {depth: 0})}; allowed is an object with ${quoteList(["codec", ...codecOptionNames])}`);
    const {codec: name, ...given} = options;
    if (!codecNames.some((known) => known === name))
        throw invalid(`${place}codec is ${inspect(name, {depth: 0})}; allowed are ${quoteList(codecNames)}` +
            (typeof name === "string" ? didYouMean(name, codecNames) : ""));
    const known = optionsOf(name as CodecName);
    for (const option of Object.keys(given))
        if (!known.some((one) => one === option))
            throw invalid(`${method} has no option ${JSON.stringify(option)} with the codec "${name as string}"; ` +
                `${known.length === 0 ? "it has none" : `allowed ${known.length === 1 ? "is" : "are"} ${quoteList(known)}`}${didYouMean(option, known)}`);
    const values = known.map((option) => [option, valueOf(place + option, given[option], rules[name as CodecName][option]!)]);
    return {name: name as CodecName, ...Object.fromEntries(values) as CodecOptions};
}

function valueOf(option: string, value: unknown, {default: usual, allowed}: Rule): number {
    if (value === undefined) return usual;
    const fits = (number: number): boolean => "least" in allowed
        ? number >= allowed.least && number <= allowed.most && (!allowed.whole || Number.isInteger(number)) : allowed.includes(number);
    if (typeof value === "number" && fits(value)) return value;
    throw invalid(`${option} is ${inspect(value, {depth: 0})}; allowed ` +
        ("least" in allowed ? `is a ${allowed.whole ? "whole " : ""}number from ${allowed.least} to ${allowed.most}` : `are ${quoteList(allowed)}`));
}
