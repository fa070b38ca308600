import {lloydMax, rotate, trellis, type Coder} from "./codes.js";
import {average, centred, dot, energyOf, meanOf, ofKinds, type Kind, type Rows, type TextRows} from "./rows.js";
import {vectorCoder} from "./words.js";

/** What becomes of rows that are stored in a code. */
export interface CodeError {
    /** Squared error over the energy of rows less their mean. */
    error: number;
    /** How long what is stored is along the row itself, less the mean: 1 if nothing shrinks. */
    length: number;
}

/** What is stored: points times the row's size, or times what makes them as long along the row as it is. */
export type Scaling = "size" | "projection";

/** @param centre is taken from the rows first; zeros for none */
function errorOf(rows: Rows, centre: Float32Array, coder: Coder, scaling: Scaling): CodeError {
    const {dim} = rows, given = centred(rows, centre).data, own = centred(rows), points = new Float32Array(dim), along = new Float32Array(dim);
    let error = 0, length = 0;
    for (let at = 0; at < given.length; at += dim) {
        const row = given.slice(at, at + dim);
        along.set(own.data.subarray(at, at + dim));
        if (coder.rotates) for (const vector of [row, along]) rotate(vector);
        const size = Math.sqrt(dot(row, row) / dim);
        coder.choose(row.map((value) => value / size), points);
        const scale = scaling === "size" ? size : dot(row, row) / dot(row, points);
        for (let i = 0; i < dim; i++) {
            const stored = scale * points[i]!;
            error += (row[i]! - stored) ** 2;
            length += stored * along[i]!;
        }
    }
    return {error: error / energyOf(own), length: length / energyOf(own)};
}

function averageOf(errors: readonly CodeError[]): CodeError {
    return {error: average(errors.map(({error}) => error)), length: average(errors.map(({length}) => length))};
}

/** Of 4-bit codes as tiers have them: the measure of other methods. */
export function fourBitErrors(text: TextRows, other: TextRows): Record<Kind, number> {
    const coder = lloydMax(4);
    return ofKinds((kind) => averageOf(pairsOf(text, other, kind).map(([head, of]) => errorOf(head, meanOf(of), coder, "projection"))).error);
}

/** Keys with and without a centre, which is another text's mean, and the projection scale. */
export const keyVariants = [
    {name: "as they are", centres: false, scaling: "size"}, {name: "centred", centres: true, scaling: "size"},
    {name: "centred, projection scale", centres: true, scaling: "projection"}
] as const;

/** For each of `keyVariants`. */
export function keyErrors(text: TextRows, other: TextRows): {name: string; bits3: CodeError; bits4: CodeError}[] {
    const pairs = pairsOf(text, other, "keys");
    return keyVariants.map(({name, centres, scaling}) => {
        const measured = (bits: 3 | 4) => averageOf(pairs.map(([head, of]) =>
            errorOf(head, centres ? meanOf(of) : new Float32Array(head.dim), lloydMax(bits), scaling)));
        return {name, bits3: measured(3), bits4: measured(4)};
    });
}

/** Only the heads of every fifth layer: k-means takes its time. */
const wordLayers = 5;
/** Vectors that code words are found in. */
const sampleVectors = 8192;

/** Codes by the bits of a value, without the scale of a row. Code words are of the same head in another text. */
export function vectorErrors(text: TextRows, other: TextRows): {name: string; bits: number; keys: number; values: number}[] {
    const words = (size: number) => (of: Rows) => vectorCoder(samplesOf(of, size), size), always = (coder: Coder) => () => coder;
    const codes: [name: string, bits: number, coder: (of: Rows) => Coder][] = [
        ["256 words for 8 values", 1, words(8)], ["single values", 1, always(lloydMax(1))],
        ["256 words for 4 values", 2, words(4)], ["single values", 2, always(lloydMax(2))], ["trellis", 2, always(trellis)],
        ["256 words for 2 values", 4, words(2)], ["single values", 4, always(lloydMax(4))]
    ];
    const errorIn = (kind: Kind, coder: (of: Rows) => Coder) => average(pairsOf(text, other, kind, wordLayers).map(([head, of]) =>
        errorOf(head, meanOf(of), coder(of), "size").error));
    return codes.map(([name, bits, coder]) => ({name, bits, keys: errorIn("keys", coder), values: errorIn("values", coder)}));
}

/** Vectors of centred rows whose elements have size 1, at even distances. */
function samplesOf(rows: Rows, size: number): Float32Array {
    const {dim, data} = centred(rows), samples = new Float32Array(sampleVectors * size), vectors = data.length / size;
    for (let sample = 0; sample < sampleVectors; sample++) {
        const at = Math.floor(sample * vectors / sampleVectors) * size, first = at - at % dim, row = data.subarray(first, first + dim);
        const scale = 1 / Math.sqrt(dot(row, row) / dim);
        samples.set(data.subarray(at, at + size).map((value) => value * scale), sample * size);
    }
    return samples;
}

/** A head's rows, and another text's of the same head, for every n-th layer. */
function pairsOf(text: TextRows, other: TextRows, kind: Kind, step = 1): (readonly [Rows, Rows])[] {
    return text[kind].flatMap((heads, layer) => layer % step === 0 ? heads.map((head, i) => [head, other[kind][layer]![i]!] as const) : []);
}
