import {InvalidArgumentError} from "commander";
import {didYouMean, quoteList} from "../nearest.js";

/** Of `--model`. */
export const modelHelp = "GGUF file to use instead of fetching SmolLM2 135M (98 MB); or gemma-3-270m, a base model with sliding windows, which is " +
    "fetched (253 MB) under the Gemma Terms of Use";

/** A commander parser for whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most: number): (text: string) => number {
    return (text) => {
        const value = Number(text);
        if (!/^\d+$/.test(text) || value < least || value > most)
            throw new InvalidArgumentError(`Give a whole number from ${least} to ${most}.`);
        return value;
    };
}

/** A commander parser for names between commas. */
export function nameList(text: string): string[] {
    const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "");
    if (names.length === 0) throw new InvalidArgumentError("Give names with commas between them.");
    return names;
}

/** The same for names of which only some are allowed. */
export function nameListOf<Name extends string>(allowed: readonly Name[]): (text: string) => Name[] {
    return (text) => nameList(text).map((name) => {
        const known = allowed.find((one) => one === name);
        if (known === undefined)
            throw new InvalidArgumentError(`Allowed are ${quoteList(allowed)}${didYouMean(name, allowed)}.`);
        return known;
    });
}

/** A commander parser for options that can be given several times. */
export function collect(value: string, earlier: string[] | undefined): string[] {
    return [...earlier ?? [], value];
}
