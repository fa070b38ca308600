import type {SequenceBytes} from "../ts/store/model-report.js";
import {count, mib, table} from "./support/format.js";

/** bench/results/wins.json has one for each model. */
export interface ModelWins {
    model: string;
    sequences: SequenceBytes[];
}

export function winsTable(wins: readonly ModelWins[]): string {
    const names = Object.keys(wins[0]!.sequences[0]!.tiers) as (keyof SequenceBytes["tiers"])[];
    return table(["model", "tokens", "stock F16", "recurrent states", ...names],
        wins.flatMap(({model, sequences}) => sequences.map(({tokens, stockBytes, bytesBeside, tiers}, index) => [
            index === 0 ? model : "", count(tokens), mib(stockBytes), bytesBeside === 0 ? "" : mib(bytesBeside),
            ...names.map((name) => `${mib(tiers[name]!)}, ${(stockBytes / tiers[name]!).toFixed(2)}x`)
        ])));
}
