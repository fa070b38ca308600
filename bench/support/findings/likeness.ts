import {average, centred, countOf, dot, energyOf, ofKinds, type Kind, type Rows, type TextRows} from "./rows.js";

/** How like rows are to others of which they might be stored as differences. */
export interface Deltas {
    /** Cosines, of all rows at once. */
    cosine: number;
    largest: number;
    /** Energy of the difference over that of the rows. */
    energy: number;
    /** Bits a value that the difference saves if the other rows are taken times the best factor. */
    bits: number;
}

/** Of rows less their mean, as one vector each. */
const cosineOf = (a: Rows, b: Rows) => dot(a.data, b.data) / Math.sqrt(energyOf(a) * energyOf(b));

function deltasOf(pairs: readonly (readonly [rows: Rows, others: Rows])[]): Deltas {
    const cosines = pairs.map(([rows, others]) => cosineOf(rows, others));
    return {
        cosine: average(cosines), largest: Math.max(...cosines),
        energy: average(pairs.map(([rows, others], i) => 1 + energyOf(others) / energyOf(rows) - 2 * cosines[i]! * Math.sqrt(energyOf(others) / energyOf(rows)))),
        bits: average(cosines.map((cosine) => -Math.log2(1 - cosine ** 2) / 2))
    };
}

const allCentred = (text: TextRows, kind: Kind) => text[kind].map((heads) => heads.map((head) => centred(head)));

/** Rows of a head, and those of the same tokens and head in the layer before. */
export const layerDeltas = (text: TextRows): Record<Kind, Deltas> => ofKinds((kind) => {
    const layers = allCentred(text, kind);
    return deltasOf(layers.slice(1).flatMap((heads, layer) => heads.map((head, i) => [head, layers[layer]![i]!] as const)));
});

/** Rows, and those of the token before. */
export const timeDeltas = (text: TextRows): Record<Kind, Deltas> => ofKinds((kind) => {
    const part = ({dim, data}: Rows, from: number, count: number): Rows => ({dim, data: data.subarray(from * dim, (from + count) * dim)});
    return deltasOf(allCentred(text, kind).flat().map((head) => {
        const pairs = countOf(head) - 1;
        return [part(head, 1, pairs), part(head, 0, pairs)] as const;
    }));
});

/** Cosines of two heads' rows of the same tokens, without their signs. */
export interface HeadLikeness {
    mean: number;
    largest: number;
}

/** Of pairs within a layer, and of all pairs. */
export function headLikeness(text: TextRows): Record<Kind, {layer: HeadLikeness; all: HeadLikeness}> {
    return ofKinds((kind) => {
        const layers = allCentred(text, kind);
        return {layer: likenessOf(layers.flatMap(pairsOf)), all: likenessOf(pairsOf(layers.flat()))};
    });
}

const pairsOf = (heads: readonly Rows[]) => heads.flatMap((head, i) => heads.slice(i + 1).map((other) => [head, other] as const));

function likenessOf(pairs: readonly (readonly [Rows, Rows])[]): HeadLikeness {
    const sizes = pairs.map(([head, other]) => Math.abs(cosineOf(head, other)));
    return {mean: average(sizes), largest: Math.max(...sizes)};
}

/** Share of the rows' energy that is their mean's. */
export const meanShares = (text: TextRows): Record<Kind, number> => ofKinds((kind) =>
    average(text[kind].flat().map((head) => 1 - energyOf(centred(head)) / energyOf(head))));
