import {getLlama, LlamaLogLevel, type Llama, type LlamaContext, type LlamaContextSequence, type LlamaModel, type Token} from "node-llama-cpp";
import {Gaussian} from "./gaussian.js";
import {dist} from "./paths.js";
import {bosToken, firstPieceToken, vocabSize} from "./tiny-vocab.js";
import type {NativeBinding} from "../../dist/engine/native.js";

/** Two threads: with more than a machine has cores, ggml's spinning barriers make everything many times slower. */
export async function openLlama(logger: (level: string, message: string) => void = () => undefined): Promise<Llama> {
    return keepingAll(await getLlama({gpu: false, maxThreads: 2, build: "never", logLevel: LlamaLogLevel.warn, logger}));
}

/**
 * Holds the instance's models and contexts for as long as itself: in node-llama-cpp 3.22.1 `dispose()` of a Llama instance never settles
 * once a model of it, or of a model once a context, was collected as garbage without having been disposed.
 */
function keepingAll(llama: Llama): Llama {
    const all: (LlamaModel | LlamaContext)[] = [];
    const loadModel = llama.loadModel;
    llama.loadModel = async (options) => {
        const model = await loadModel.call(llama, options);
        const createContext = model.createContext;
        model.createContext = async (options) => {
            const context = await createContext.call(model, options);
            all.push(context);
            return context;
        };
        all.push(model);
        return model;
    };
    return llama;
}

export async function nativeBinding(): Promise<NativeBinding> {
    const {loadNative} = await import(dist("engine/load.js")) as typeof import("../../dist/engine/load.js");
    return await loadNative();
}

/** The handle that the native binding's functions take. */
export function handleOf(context: LlamaContext): object {
    return (context as unknown as {_ctx: object})._ctx;
}

/** Tokens of the tiny models' vocabulary: the beginning-of-text token, then random pieces. */
export function randomTokens(count: number, seed: number): Token[] {
    const random = new Gaussian(seed);
    const piece = () => firstPieceToken + random.integer(vocabSize - firstPieceToken);
    return [bosToken, ...Array.from({length: count - 1}, piece)] as Token[];
}

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
    // Math.max would hide a NaN behind nothing, and a mean does not.
    return {rows: all.length, mean: all.reduce((sum, one) => sum + one, 0) / all.length, largest: Math.max(...all)};
}

export const allFinite = (rows: readonly Float32Array[]): boolean => rows.every((row) => row.every(Number.isFinite));

export function greedy(row: Float32Array): number {
    let best = 0;
    for (let token = 1; token < row.length; token++)
        if (row[token]! > row[best]!) best = token;
    return best;
}

/** The most likely tokens after `tokens`, `count` of them or fewer if the text ends. */
export async function generate(sequence: LlamaContextSequence, tokens: readonly Token[], count: number, end = false): Promise<Token[]> {
    const generated: Token[] = [];
    for await (const token of sequence.evaluate([...tokens], {temperature: 0, yieldEogToken: !end})) {
        generated.push(token);
        if (generated.length === count) break;
    }
    return generated;
}

/** The error that this promise is rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<Error & {code?: string}> {
    try {
        await promise;
    } catch (error) {
        return error as Error;
    }
    throw new Error("the promise was fulfilled");
}

/** The code of the error that this promise is rejected with, or its message if it has none. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
    const error = await rejection(promise).catch(() => ({message: "fulfilled", code: undefined}));
    return error.code ?? error.message;
}
