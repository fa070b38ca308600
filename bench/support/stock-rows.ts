import {readFileSync} from "node:fs";

/** Float of each half. */
const floats = Float32Array.from({length: 2 ** 16}, (_, half) => {
    const exponent = half >> 10 & 31, fraction = half & 1023, sign = half & 0x8000 ? -1 : 1;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
});

/**
 * The rows of a stock F16 state file with one sequence, [layer][token and element]. The layout is that of llama.cpp's `llama_kv_cache::state_write` with
 * flash attention.
 */
export function readStockRows(file: string): {keys: Float32Array[]; values: Float32Array[]} {
    const bytes = readFileSync(file);
    let at = 8;  // magic and version
    const u32 = () => (at += 4, bytes.readUInt32LE(at - 4));
    const tokens = u32();
    at += 4 * tokens + 4;  // and the number of streams
    const cells = u32();
    at += 12 * cells;  // position, number of sequences (1), sequence
    const transposed = u32(), layers = u32();
    if (transposed !== 0) throw new Error(`${file} has transposed values`);

    const rows = () => Array.from({length: layers}, () => {
        const type = u32(), rowBytes = Number(bytes.readBigUInt64LE(at));
        if (type !== 1) throw new Error(`${file} has rows of ggml's type ${type}; F16 is 1`);
        at += 8;
        const read = Float32Array.from({length: cells * rowBytes / 2}, (_, i) => floats[bytes.readUInt16LE(at + 2 * i)]!);
        at += cells * rowBytes;
        return read;
    });
    return {keys: rows(), values: rows()};
}
