/** Chooses points for a row whose elements have size 1. */
export interface Coder {
    /** Whether the row is turned by a Hadamard matrix first, so that its elements are near to a Gaussian's. */
    readonly rotates: boolean;
    choose(row: Float32Array, points: Float32Array): void;
}

/** Quantizers of a unit Gaussian with the least squared error, by bits (Max, "Quantizing for minimum distortion", 1960, table I): the positive half. */
const lloydMaxPoints: Record<number, readonly number[]> = {
    1: [0.7980], 2: [0.4528, 1.5104], 3: [0.2451, 0.7560, 1.3439, 2.1520], 4: [0.1284, 0.3881, 0.6568, 0.9423, 1.2562, 1.6180, 2.0690, 2.7326]
};

export function lloydMax(bits: 1 | 2 | 3 | 4): Coder {
    const points = lloydMaxPoints[bits]!, limits = points.slice(1).map((point, i) => (point + points[i]!) / 2);
    return {rotates: true, choose(row, chosen) {
        for (let i = 0; i < row.length; i++) {
            const size = Math.abs(row[i]!);
            let code = 0;
            while (code < limits.length && size > limits[code]!) code++;
            chosen[i] = row[i]! < 0 ? -points[code]! : points[code]!;
        }
    }};
}

/** `kTrellis4` of cpp/format/codebook.h: [symbol before][symbol]. */
const trellisPoints = [
    -1.5988, -0.5953, 0.1523, 1.0796, -0.7824, 0.1188, 0.9611, 1.9753, -1.9579, -0.9423, -0.1106, 0.7834, -1.0407, -0.1152, 0.6457, 1.6274
];

/** Symbols of 2 bits, chosen by Viterbi's search: what tiers store values in. */
export const trellis: Coder = {rotates: true, choose(row, chosen) {
    const befores = new Uint8Array(4 * row.length);
    let costs = [0, Infinity, Infinity, Infinity];
    for (let i = 0; i < row.length; i++)
        costs = costs.map((_, symbol) => {
            const all = costs.map((cost, before) => cost + (row[i]! - trellisPoints[4 * before + symbol]!) ** 2), least = Math.min(...all);
            befores[4 * i + symbol] = all.indexOf(least);
            return least;
        });
    let symbol = costs.indexOf(Math.min(...costs));
    for (let i = row.length - 1; i >= 0; i--) {
        const before = befores[4 * i + symbol]!;
        chosen[i] = trellisPoints[4 * before + symbol]!;
        symbol = before;
    }
}};

/** Turns a row of 2^n elements, in place. Its length stays. */
export function rotate(row: Float32Array): void {
    for (let half = 1; half < row.length; half *= 2)
        for (let i = 0; i < row.length; i++) {
            if ((i & half) !== 0) continue;
            const a = row[i]!, b = row[i + half]!;
            row[i] = (a + b) * Math.SQRT1_2;
            row[i + half] = (a - b) * Math.SQRT1_2;
        }
}
