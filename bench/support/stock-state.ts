import {closeSync, openSync, readFileSync, writeSync} from "node:fs";

interface StockState {
    readonly bytes: Buffer;
    readonly cells: number;
    readonly layers: number;
    /** Every layer's keys, then every layer's values. */
    readonly blocks: readonly {readonly type: number; readonly rowBytes: number; readonly rows: Buffer}[];
}

/** Of one sequence. The layout is that of llama.cpp's `llama_kv_cache::state_write` with flash attention (values not transposed). */
function readState(file: string): StockState {
    const bytes = readFileSync(file);
    let at = 8;  // magic and version
    const u32 = () => (at += 4, bytes.readUInt32LE(at - 4));
    const tokens = u32();
    at += 4 * tokens + 4;  // and the number of streams
    const cells = u32();
    at += 12 * cells;  // position, number of sequences (1), sequence
    const transposed = u32(), layers = u32();
    if (transposed !== 0) throw new Error(`${file} has transposed values`);
    const blocks = Array.from({length: 2 * layers}, () => {
        const type = u32(), rowBytes = Number(bytes.readBigUInt64LE(at)), begin = at + 8;
        at = begin + cells * rowBytes;
        return {type, rowBytes, rows: bytes.subarray(begin, at)};
    });
    return {bytes, cells, layers, blocks};
}

/**
 * Makes a stock state file of `depth` tokens, for a context of so many sequences, out of one of fewer tokens, by repeating its rows. Stock's
 * quantized caches would take an hour to evaluate 32,768 tokens, and their speed does not depend on what the rows say.
 */
export function repeatStockState(source: string, target: string, depth: number, sequences: number): void {
    const {bytes, layers, blocks} = readState(source), file = openSync(target, "w");
    const header = (...values: number[]) => writeSync(file, Uint32Array.from(values));
    writeSync(file, bytes, 0, 8);
    header(0, sequences, depth);
    writeSync(file, Uint32Array.from({length: 3 * depth}, (_, i) => [i / 3, 1, 0][i % 3]!));
    header(0, layers);
    for (const {type, rowBytes, rows} of blocks) {
        header(type);
        writeSync(file, BigUint64Array.of(BigInt(rowBytes)));
        writeSync(file, Buffer.alloc(depth * rowBytes, rows));
    }
    header(...Array<number>(sequences - 1).fill(0));  // the other streams are empty
    closeSync(file);
}

/** Float of each half. */
const floats = Float32Array.from({length: 2 ** 16}, (_, half) => {
    const exponent = half >> 10 & 31, fraction = half & 1023, sign = half & 0x8000 ? -1 : 1;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
});

/** The rows of a stock F16 state file, [layer][token and element]. */
export function readStockRows(file: string): {keys: Float32Array[]; values: Float32Array[]} {
    const {layers, blocks} = readState(file), rows = blocks.map(({type, rows}) => {
        if (type !== 1) throw new Error(`${file} has rows of ggml's type ${type}; F16 is 1`);
        return Float32Array.from({length: rows.length / 2}, (_, i) => floats[rows.readUInt16LE(2 * i)]!);
    });
    return {keys: rows.slice(0, layers), values: rows.slice(layers)};
}
