/** First rows of a sequence. Every tier holds them as F16, so they are left out. */
export const sinks = 4;

/** Of one layer and KV head: [token][element]. */
export interface Rows {
    readonly dim: number;
    readonly data: Float32Array;
}

/** Keys as the cache holds them, turned by their positions (RoPE); the same turned back; values. */
export const kinds = ["keys", "keys turned back", "values"] as const;
export type Kind = (typeof kinds)[number];

/** What the cache holds of a text: [layer][head]. */
export type TextRows = Readonly<Record<Kind, readonly (readonly Rows[])[]>>;

/** For each kind. */
export const ofKinds = <Result>(measure: (kind: Kind) => Result): Record<Kind, Result> =>
    Object.fromEntries(kinds.map((kind) => [kind, measure(kind)])) as Record<Kind, Result>;

export const countOf = ({dim, data}: Rows): number => data.length / dim;

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
    return sum;
}

/** Sum of squares. */
export const energyOf = ({data}: Rows): number => dot(data, data);

export const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

export function meanOf(rows: Rows): Float32Array {
    const {dim, data} = rows, sums = new Float64Array(dim);
    for (let i = 0; i < data.length; i++) sums[i % dim]! += data[i]!;
    return Float32Array.from(sums, (sum) => sum / countOf(rows));
}

/** Rows less a vector: the mean of all, unless another one is given. */
export function centred(rows: Rows, centre = meanOf(rows)): Rows {
    const {dim, data} = rows;
    return {dim, data: data.map((value, i) => value - centre[i % dim]!)};
}

/** Rows of several heads side by side. */
export function joined(heads: readonly Rows[]): Rows {
    const dim = heads.reduce((sum, head) => sum + head.dim, 0), count = countOf(heads[0]!), data = new Float32Array(count * dim);
    let offset = 0;
    for (const head of heads) {
        for (let row = 0; row < count; row++) data.set(head.data.subarray(row * head.dim, (row + 1) * head.dim), row * dim + offset);
        offset += head.dim;
    }
    return {dim, data};
}

/** Keys of consecutive positions as they were before RoPE. Elements 2i and 2i + 1 turn together, as llama.cpp has them for models of Llama's kind. */
export function turnedBack({dim, data}: Rows, firstPosition: number, base: number): Rows {
    const back = new Float32Array(data.length);
    for (let i = 0; i < data.length; i += 2) {
        const angle = (firstPosition + Math.floor(i / dim)) * base ** (-(i % dim) / dim), cos = Math.cos(angle), sin = Math.sin(angle);
        back[i] = data[i]! * cos + data[i + 1]! * sin;
        back[i + 1] = data[i + 1]! * cos - data[i]! * sin;
    }
    return {dim, data: back};
}
