import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import path from "node:path";
import type {Token} from "node-llama-cpp";
import {reference, type BenchCache} from "../../caches.js";
import {batchSize} from "../bench-model.js";
import type {OpenCache} from "../open-cache.js";
import type {Runtime} from "../runtime.js";
import {readStockRows} from "../stock-state.js";
import {sinks, turnedBack, type Rows, type TextRows} from "./rows.js";

/** A tier that adds up the attention of all queries. It never comes to drop rows. */
export const watchedTier = {watched: {format: "f16", evict: {keep: 0.5, scorer: "h2o", slack: 65536}}} as const;

/** What stock's F16 cache holds of these tokens behind its sinks. */
export async function textRows(runtime: Runtime, tokens: Token[]): Promise<TextRows> {
    const folder = mkdtempSync(path.join(tmpdir(), "deltastore-findings-")), file = path.join(folder, "rows.state");
    const open = await evaluated(runtime, reference, tokens);
    try {
        await open.save(file, tokens.length);
        const {keys, values} = readStockRows(file), {kvHeads, keyLength, valueLength} = runtime.shape.attention[0]!;
        const {llama} = runtime.model.fileInfo.metadata as unknown as {llama: {rope: {freq_base: number}}}, base = llama.rope.freq_base;
        const stored = keys.map((layer) => headsOf(layer, kvHeads, keyLength));
        return {
            "keys": stored, "keys turned back": stored.map((heads) => heads.map((head) => turnedBack(head, sinks, base))),
            "values": values.map((layer) => headsOf(layer, kvHeads, valueLength))
        };
    } finally {
        await open.dispose();
        rmSync(folder, {recursive: true});
    }
}

/** The rows of a layer, head by head. */
function headsOf(layer: Float32Array, heads: number, dim: number): Rows[] {
    const width = heads * dim, count = layer.length / width - sinks;
    return Array.from({length: heads}, (_, head) => {
        const data = new Float32Array(count * dim);
        for (let row = 0; row < count; row++) {
            const at = (row + sinks) * width + head * dim;
            data.set(layer.subarray(at, at + dim), row * dim);
        }
        return {dim, data};
    });
}

/** The attention that each row received from a query that could see it, on average, to a common factor: [layer][head][position]. */
export async function receivedAttention(runtime: Runtime, tokens: Token[]): Promise<Float64Array[][]> {
    const open = await evaluated(runtime, {name: "watched", options: {kvCache: "watched", flashAttention: true}}, tokens), {native} = runtime;
    try {
        native.setOrigin(open.handle, new Uint8Array(8).fill(1), new Uint8Array(8));  // a snapshot has one; this one is never restored
        const {handle, tail} = await native.beginSnapshot(open.handle, 0), {count, kvHeads} = runtime.shape.attention[0]!;
        native.endSnapshot(handle);
        return watchedMeans(tail, count, kvHeads, tokens.length);
    } finally {
        await open.dispose();
    }
}

/** A snapshot's tail ends in the number of watched rows, and the sums of each layer, head and row, see `cpp/watching/watch.h`. */
function watchedMeans({buffer, byteOffset, length}: Uint8Array, layers: number, heads: number, rows: number): Float64Array[][] {
    const begin = byteOffset + length - 4 * layers * heads * rows, view = new DataView(buffer);
    if (view.getUint32(begin - 4, true) !== rows) throw new Error(`The snapshot does not end in the attention of ${rows} rows`);
    return Array.from({length: layers}, (_, layer) => Array.from({length: heads}, (_, head) =>
        Float64Array.from({length: rows}, (_, row) => view.getUint32(begin + 4 * ((layer * heads + head) * rows + row), true) / (rows - row))));
}

/** A sequence that holds these tokens. There is room for more: node-llama-cpp shifts a context that is full. */
async function evaluated(runtime: Runtime, cache: BenchCache, tokens: Token[]): Promise<OpenCache> {
    const open = await runtime.openCache(cache, tokens.length + batchSize);
    await open.context.getSequence().evaluateWithoutGeneratingNewTokens(tokens);
    return open;
}
