import {InvalidArgumentError} from "commander";

/** A commander parser for whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most: number): (text: string) => number {
    return (text) => {
        const value = Number(text);
        if (!/^\d+$/.test(text) || value < least || value > most)
            throw new InvalidArgumentError(`Give a whole number from ${least} to ${most}.`);
        return value;
    };
}

/** A commander parser for options that can be given several times. */
export function collect(value: string, earlier: string[] | undefined): string[] {
    return [...earlier ?? [], value];
}
