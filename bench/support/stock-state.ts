import {closeSync, openSync, readFileSync, writeSync} from "node:fs";

/**
 * Makes a stock state file of `depth` tokens, for a context of so many sequences, out of one of fewer tokens, by repeating its rows. Stock's
 * quantized caches would take an hour to evaluate 32,768 tokens, and their speed does not depend on what the rows say.
 * The layout is that of llama.cpp's `llama_kv_cache::state_write` with flash attention (values not transposed).
 */
export function repeatStockState(source: string, target: string, depth: number, sequences: number): void {
    const bytes = readFileSync(source);
    let at = 8;  // magic and version
    const u32 = () => (at += 4, bytes.readUInt32LE(at - 4));
    const tokens = u32();
    at += 4 * tokens + 4;  // and the number of streams
    const cells = u32();
    at += 12 * cells;  // position, number of sequences (1), sequence
    const transposed = u32(), layers = u32();
    if (transposed !== 0) throw new Error(`${source} has transposed values`);

    const file = openSync(target, "w");
    const header = (...values: number[]) => writeSync(file, Uint32Array.from(values));
    writeSync(file, bytes, 0, 8);
    header(0, sequences, depth);
    writeSync(file, Uint32Array.from({length: 3 * depth}, (_, i) => [i / 3, 1, 0][i % 3]!));
    header(transposed, layers);
    for (let block = 0; block < 2 * layers; block++) {  // every layer's keys, then every layer's values
        writeSync(file, bytes, at, 12);  // type and bytes of a row
        const rowBytes = Number(bytes.readBigUInt64LE(at + 4)), rows = bytes.subarray(at + 12, at + 12 + cells * rowBytes);
        writeSync(file, Buffer.alloc(depth * rowBytes, rows));
        at += 12 + rows.length;
    }
    header(...Array<number>(sequences - 1).fill(0));  // the other streams are empty
    closeSync(file);
}
