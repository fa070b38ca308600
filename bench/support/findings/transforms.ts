import {codingGain, idealBits, principalAxes, principalVariances, productsOf, variancesAlong} from "./axes.js";
import {average, centred, countOf, energyOf, joined, meanOf, ofKinds, type Kind, type Rows, type TextRows} from "./rows.js";

/** Bits a value. */
export interface AxesBits {
    /** What the axes save a coder with fine steps. */
    gain: number;
    /** Least for the error of 4-bit codes of the rows as they are stored. */
    bits: number;
}

/** A head's rows, another text's of the same head, and the rows as they are stored, whose elements count as of size 1. */
interface Head {
    readonly rows: Rows;
    readonly others: Rows;
    readonly stored: Rows;
}

/** @param errors of 4-bit codes */
export class Transforms {
    constructor(readonly text: TextRows, readonly other: TextRows, readonly errors: Record<Kind, number>) {}

    /** Bits that F16 axes of its own add to each value of a head. */
    ownAxesCost(): number {
        const head = this.text["keys"][0]![0]!;
        return 16 * head.dim / countOf(head);
    }

    /** Of each head alone: no axes, those of the text itself, those of another text. */
    heads(): Record<Kind, {none: number; own: AxesBits; other: AxesBits}> {
        return ofKinds((kind) => {
            const heads = this.#layers(kind).flat();
            const own = heads.map(({rows, stored}) => principalVariances(productsOf(leveled(rows, stored, meanOf(rows)))));
            const none = own.map((variances) => variances.map(() => average(variances)));
            return {none: this.#bits(kind, none).bits, own: this.#bits(kind, own), other: this.#bits(kind, heads.map((head) => otherVariances([head])))};
        });
    }

    /** Axes of another text, over all heads of so many layers, or over one head for 0. Over all units of the stretches. */
    joint(): {layers: number; keys: AxesBits; values: AxesBits}[] {
        const bitsOf = (kind: Kind, layers: number) => this.#bits(kind, stretches.flatMap((first) =>
            unitsOf(this.#layers(kind).slice(first, first + stretchLayers), layers).map(otherVariances)));
        return unitLayers.map((layers) => ({layers, keys: bitsOf("keys turned back", layers), values: bitsOf("values", layers)}));
    }

    #layers(kind: Kind): Head[][] {
        const storedKind = kind === "keys turned back" ? "keys" : kind;
        return this.text[kind].map((heads, layer) => heads.map((rows, head) =>
            ({rows, others: this.other[kind][layer]![head]!, stored: this.text[storedKind][layer]![head]!})));
    }

    #bits(kind: Kind, variances: readonly number[][]): AxesBits {
        const error = this.errors[kind === "keys turned back" ? "keys" : kind];
        return {gain: average(variances.map(codingGain)), bits: average(variances.map((each) => idealBits(each, error)))};
    }
}

/** Layers whose rows share axes; 0 for one head. */
const unitLayers = [0, 1, 3, 6] as const;
/** The first layers of the stretches of layers that are measured. Each is as long as the largest unit. */
const stretches = [6, 18] as const;
const stretchLayers = 6;

function unitsOf(stretch: readonly Head[][], layers: number): Head[][] {
    if (layers === 0) return stretch.flat().map((head) => [head]);
    return Array.from({length: stretch.length / layers}, (_, unit) => stretch.slice(unit * layers, (unit + 1) * layers).flat());
}

/** Mean squares of rows along the axes of the others. */
function otherVariances(heads: readonly Head[]): number[] {
    const products = (which: "rows" | "others") => productsOf(joined(heads.map((head) => leveled(head[which], head.stored, meanOf(head.others)))));
    return variancesAlong(principalAxes(products("others")), products("rows"));
}

/** Rows less a centre, in units in which those as they are stored, less their mean, have elements of size 1. */
function leveled(rows: Rows, stored: Rows, centre: Float32Array): Rows {
    const size = Math.sqrt(energyOf(centred(stored)) / countOf(stored) / stored.dim);
    return {dim: rows.dim, data: centred(rows, centre).data.map((value) => value / size)};
}
