import {createHash} from "node:crypto";
import {join} from "node:path";
import {pathToFileURL} from "node:url";
import type {LlamaContext, LlamaContextSequence, Token} from "node-llama-cpp";
import type {Test} from "tap";
import {handleOf, moreTokens} from "./engine.js";
import {root} from "./paths.js";
import type {NativeBinding} from "../../dist/engine/native.js";

export interface Evaluation {
    sequence?: number;
    /** Tokens of each batch in turn, over and over; one batch if absent. */
    batches?: readonly number[];
    /** Index of the first token whose logits are wanted. */
    from?: number;
    /** Position of the first token. */
    position?: number;
}

/** The logits of the tokens from `from` on, a row each. They are added behind what the native sequence holds. */
export async function logitsOf(native: NativeBinding, context: LlamaContext, tokens: readonly number[],
                               {sequence = 0, batches = [tokens.length], from = 0, position = 0}: Evaluation = {}): Promise<Float32Array[]> {
    const rows: Float32Array[] = [];
    for (let start = 0, turn = 0; start < tokens.length; turn++) {
        const batch = Uint32Array.from(tokens.slice(start, start + batches[turn % batches.length]!));
        const first = Math.min(Math.max(from - start, 0), batch.length - 1);
        const logits = await native.evaluateLogits(handleOf(context), sequence, position + start, batch, first);
        const vocabulary = logits.length / (batch.length - first);
        for (let row = first; row < batch.length; row++) {
            const at = (row - first) * vocabulary;
            if (start + row >= from) rows.push(logits.subarray(at, at + vocabulary));
        }
        start += batch.length;
    }
    return rows;
}

/** See the fixture: processes of tests have it, too. */
export const {nextLogits} = await import(pathToFileURL(join(root, "test/fixtures/next-logits.mjs")).href) as {
    nextLogits(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<Float32Array>;
};

/** The logits after each of several batches: so many tokens that pages fill and rows are packed and evicted. */
export async function goOn(sequence: LlamaContextSequence, seed: number, sizes: readonly number[] = [1, 30, 70, 100]): Promise<Float32Array[]> {
    const rows: Float32Array[] = [];
    for (const [index, size] of sizes.entries()) rows.push(await nextLogits(sequence, moreTokens(size, seed + index)));
    return rows;
}

/** Checks that logits are the same, bit for bit. */
export function sameLogits(t: Test, found: readonly Float32Array[], expected: readonly Float32Array[], what = "the same logits"): void {
    const digests = (rows: readonly Float32Array[]) => rows.map((row) => createHash("sha256").update(row).digest("hex").slice(0, 12));
    t.strictSame(digests(found), digests(expected), what);
}

function logSoftmax(logits: Float32Array): Float64Array {
    let largest = -Infinity;
    for (const logit of logits) largest = Math.max(largest, logit);
    let sum = 0;
    for (const logit of logits) sum += Math.exp(logit - largest);
    return Float64Array.from(logits, (logit) => logit - largest - Math.log(sum));
}

/** Kullback-Leibler divergence of the next-token distributions, in nats; NaN if any logit is. */
export function divergence(expected: Float32Array, found: Float32Array): number {
    const [p, q] = [logSoftmax(expected), logSoftmax(found)];
    return p.reduce((sum, logP, token) => sum + Math.exp(logP) * (logP - q[token]!), 0);
}

export interface Divergences {
    rows: number;
    mean: number;
    largest: number;
}

export function divergences(expected: readonly Float32Array[], found: readonly Float32Array[]): Divergences {
    if (expected.length !== found.length) throw new Error(`${expected.length} rows against ${found.length}`);
    const all = expected.map((row, index) => divergence(row, found[index]!));
    // A NaN shows in both: Math.max and the sum give NaN.
    return {rows: all.length, mean: all.reduce((sum, one) => sum + one, 0) / all.length, largest: Math.max(...all)};
}

export const allFinite = (rows: readonly Float32Array[]): boolean => rows.every((row) => row.every(Number.isFinite));

export function greedy(row: Float32Array): number {
    let best = 0;
    for (let token = 1; token < row.length; token++)
        if (row[token]! > row[best]!) best = token;
    return best;
}
