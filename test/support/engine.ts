import {getLlama, LlamaLogLevel, type Llama, type LlamaContext, type LlamaContextSequence, type LlamaModel, type Token} from "node-llama-cpp";
import {Gaussian} from "./gaussian.js";
import {dist} from "./paths.js";
import {bosToken, firstPieceToken, vocabSize} from "./tiny-vocab.js";
import type {NativeBinding} from "../../dist/engine/native.js";

// tap makes every child process load a module of its own, which takes 0.2 s. getLlama tests its binary in a child process each time.
delete process.env["NODE_OPTIONS"];

/**
 * Contexts have one thread unless a test says otherwise: two files are tested at a time, and with more threads than a machine has cores ggml's
 * spinning barriers make everything many times slower.
 */
export async function openLlama(logger: (level: string, message: string) => void = () => undefined): Promise<Llama> {
    return withDefaults(await getLlama({gpu: false, maxThreads: 2, build: "never", logLevel: LlamaLogLevel.warn, logger}));
}

/**
 * Gives contexts one thread by default, and holds an instance's models and contexts until they are disposed. In node-llama-cpp 3.22.1 `dispose()` of
 * a Llama instance never settles once one of them was garbage-collected before it was disposed.
 */
function withDefaults(llama: Llama): Llama {
    const all = new Set<LlamaModel | LlamaContext>(), {loadModel} = llama;
    const keep = <Kept extends LlamaModel | LlamaContext>(kept: Kept): Kept => {
        all.add(kept);
        kept.onDispose.createListener(() => {
            all.delete(kept);
        });
        return kept;
    };
    llama.loadModel = async (options) => {
        const model = keep(await loadModel.call(llama, options)), {createContext} = model;
        model.createContext = async (options) => keep(await createContext.call(model, {threads: 1, ...options}));
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

/** Tokens to go on with. */
export const moreTokens = (count: number, seed: number): Token[] => randomTokens(count + 1, seed).slice(1);

/** The most likely tokens after `tokens`: `count` of them, or fewer if the text ends. */
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
