import {DivergenceRecorder, summarizeDivergence, type ChunkDivergence, type DivergenceSummary} from "./divergence.js";
import type {EvalCache} from "./caches.js";
import type {EvalContext} from "./context.js";
import type {Suite} from "./suite.js";
import {estimate} from "./statistics.js";
import type {EvalText} from "./text.js";

/** How chunks of text are evaluated and which of their positions are scored. */
export interface LogitsProtocol {
    readonly name: "window" | "worst";
    readonly chunkTokens: number;
    /** Tokens that are evaluated first. What follows is scored. */
    readonly promptTokens: number;
    /** Tokens of a scored batch. Small batches see what decoding sees. */
    readonly batch: number;
}

/** For caches as they are used. */
export const windowProtocol: LogitsProtocol = {name: "window", chunkTokens: 1024, promptTokens: 512, batch: 16};
/** For caches without a window, where every row is packed before any query sees it. */
export const worstProtocol: LogitsProtocol = {name: "worst", chunkTokens: 512, promptTokens: 256, batch: 256};

/** Tokens that `--chunks` counts as one. */
export const textChunk = 1024;

export interface ChunkOutcome extends ChunkDivergence {
    /** Stock's F16 bytes over the cache's at the end of the chunk. */
    memoryRatio: number;
}

export interface LogitsSummary extends DivergenceSummary {
    memoryRatio: number;
}

export type LogitsSuite = Suite<Float32Array[], ChunkOutcome>;

/**
 * Divergence from the reference over so many chunks of text. The text's first chunk is left out: contexts have seen it when they are opened.
 * @param chunks of `textChunk` tokens
 */
export function logitsSuite(protocol: LogitsProtocol, caches: readonly EvalCache[], text: EvalText, chunks: number): LogitsSuite {
    const {name, chunkTokens, promptTokens, batch} = protocol;
    const count = chunks * textChunk / chunkTokens, purpose = `${count} chunks of ${chunkTokens}`;
    const starts = Array.from({length: count}, (_, index) => textChunk + index * chunkTokens);
    text.slice(starts.at(-1)!, chunkTokens + 1, purpose);

    /** Logits of a chunk, batch by batch, with the tokens that they predict. */
    async function* scored(context: EvalContext, start: number): AsyncGenerator<{logits: Float32Array; next: Uint32Array}> {
        const tokens = text.beginning(start, chunkTokens + 1, purpose);
        await context.endPrompt(tokens.slice(0, promptTokens));
        for (let at = promptTokens; at < chunkTokens; at += batch) {
            const logits = await context.evaluate(tokens.slice(at, at + batch), batch);
            yield {logits, next: Uint32Array.from(tokens.slice(at + 1, at + batch + 1))};
        }
    }

    return {
        name, caches, contextSize: chunkTokens, sequences: 1,
        cases: starts.map((start) => `tokens from ${start}`),
        async expect(openReference, index) {
            const expected: Float32Array[] = [];
            for await (const {logits} of scored(await openReference(), starts[index]!)) expected.push(logits);
            return expected;
        },
        async measure(context, index, expected) {
            const recorder = new DivergenceRecorder();
            let piece = 0;
            for await (const {logits, next} of scored(context, starts[index]!))
                recorder.add(await context.native.compareLogits(expected[piece++]!, logits, next));
            return {...recorder.finish(), memoryRatio: context.memoryRatio()};
        }
    };
}

export function summarizeLogits(chunks: readonly ChunkOutcome[]): LogitsSummary {
    return {memoryRatio: estimate(chunks.map(({memoryRatio}) => memoryRatio)).mean, ...summarizeDivergence(chunks)};
}
