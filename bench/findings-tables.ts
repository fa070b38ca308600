import {count, percent, table} from "./support/format.js";
import type {CodeError, fourBitErrors, keyErrors, vectorErrors} from "./support/findings/code-errors.js";
import {topShare, type SharedImportance, type sharedImportance} from "./support/findings/importance.js";
import type {Deltas, headLikeness} from "./support/findings/likeness.js";
import type {lowRank} from "./support/findings/low-rank.js";
import {kinds, type Kind} from "./support/findings/rows.js";
import type {Transforms} from "./support/findings/transforms.js";

/** bench/results/findings.json. */
export interface Findings {
    model: string;
    date: string;
    tokens: number;
    /** Errors of 4-bit codes. */
    fourBits: ReturnType<typeof fourBitErrors>;
    meanShares: Record<Kind, number>;
    lowRank: ReturnType<typeof lowRank>;
    layerDeltas: Record<Kind, Deltas>;
    timeDeltas: Record<Kind, Deltas>;
    heads: ReturnType<typeof headLikeness>;
    importance: ReturnType<typeof sharedImportance>;
    keys: ReturnType<typeof keyErrors>;
    vectors: ReturnType<typeof vectorErrors>;
    ownAxesCost: number;
    headAxes: ReturnType<Transforms["heads"]>;
    jointAxes: ReturnType<Transforms["joint"]>;
}

const bits = (value: number) => value.toFixed(2);
const decibels = (gain: number) => (20 * Math.log10(2) * gain).toFixed(1);

/** By the name of their place in docs/findings.md. */
export function findingsTables(findings: Findings): Record<string, string> {
    const {model, date, tokens, fourBits, lowRank, importance, keys, vectors, headAxes, jointAxes} = findings, {layers, heads} = importance;
    return {
        "findings-setting": `${model}, ${date}: ${count(tokens)} tokens of WikiText-2 as the text, and as many from elsewhere in it as the other text.`,
        "findings-low-rank": table(["error", "4-bit codes", ...lowRank["keys"].head.errors.map(({rank}) => `rank ${rank}`), "rank at 4x", "its error"],
            kinds.flatMap((kind) => ([["of a head", lowRank[kind].head], ["of a layer", lowRank[kind].layer]] as const).map(([part, {errors, quarter}]) =>
                [`${kind} ${part}`, percent(fourBits[kind]), ...errors.map(({error}) => percent(error)), String(quarter.rank), percent(quarter.error)]))),
        "findings-layer-deltas": deltasTable(findings.layerDeltas),
        "findings-joint-axes": table(["axes over", "keys", "values", "both"], [
            ["none, keys as stored", ...bitsOfBoth(headAxes["keys"].none, headAxes["values"].none)],
            ["none", ...bitsOfBoth(headAxes["keys turned back"].none, headAxes["values"].none)],
            ...jointAxes.map(({layers, keys, values}) => [unitName(layers), ...bitsOfBoth(keys.bits, values.bits)])
        ]),
        "findings-time-deltas": deltasTable(findings.timeDeltas),
        "findings-importance": table(
            ["", "rank correlation", "least", `top ${100 * topShare}% in common`, "attention, by own order", "by another's", "by that of all", "worst"],
            [["layers", ...importanceCells(layers)], ["KV heads", ...importanceCells(heads)]]
        ),
        "findings-heads": table(["", "within a layer, mean", "largest", "all pairs, mean", "largest"], kinds.map((kind) => {
            const {layer, all} = findings.heads[kind];
            return [kind, ...[layer.mean, layer.largest, all.mean, all.largest].map((cosine) => cosine.toFixed(3))];
        })),
        "findings-keys": table(["keys", "3 bits, error", "length", "4 bits, error", "length"],
            keys.map(({name, bits3, bits4}) => [name, ...codeCells(bits3), ...codeCells(bits4)])),
        "findings-vectors": table(["code", "bits a value", "error of keys", "of values"],
            vectors.map(({name, bits, keys, values}) => [name, String(bits), percent(keys), percent(values)])),
        "findings-head-axes": table(["", "none, bits", "own text, bits", "gain", "another text, bits", "gain"], kinds.map((kind) => {
            const {none, own, other} = headAxes[kind];
            return [kind, bits(none), ...[own, other].flatMap((axes) => [bits(axes.bits), `${bits(axes.gain)} (${decibels(axes.gain)} dB)`])];
        }))
    };
}

/** Inside sentences. */
export function findingsFigures({meanShares, headAxes, jointAxes, ownAxesCost}: Findings): Record<string, string> {
    const [head, widest] = [jointAxes[0]!, jointAxes.at(-1)!].map(({keys, values}) => keys.bits + values.bits);
    return {
        "findings-mean-stored": percent(meanShares["keys"]), "findings-mean-turned-back": percent(meanShares["keys turned back"]),
        "findings-joint-saving": percent(1 - widest! / head!), "findings-own-axes-cost": bits(ownAxesCost),
        "findings-turning-back": bits(headAxes["keys"].none - headAxes["keys turned back"].none)
    };
}

const unitName = (layers: number) => layers === 0 ? "one head" : layers === 1 ? "a layer's heads" : `${layers} layers`;

const bitsOfBoth = (keys: number, values: number) => [keys, values, (keys + values) / 2].map(bits);

const deltasTable = (deltas: Record<Kind, Deltas>) => table(["", "cosine", "largest", "energy of the difference", "bits saved"], kinds.map((kind) => {
    const {cosine, largest, energy, bits: saved} = deltas[kind];
    return [kind, cosine.toFixed(3), largest.toFixed(3), percent(energy), bits(saved)];
}));

const importanceCells = ({rankCorrelation, leastRankCorrelation, overlap, attention, worst}: SharedImportance) => [
    rankCorrelation.toFixed(2), leastRankCorrelation.toFixed(2), percent(overlap), ...[attention.own, attention.other, attention.all, worst].map(percent)
];

const codeCells = ({error, length}: CodeError) => [percent(error), length.toFixed(3)];
