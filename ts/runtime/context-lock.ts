import {createRequire} from "node:module";
import {fileURLToPath, pathToFileURL} from "node:url";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {sequenceInternals} from "./internals.js";

interface LifecycleUtils {
    withLock<T>(scope: [object, string], work: () => Promise<T>): Promise<T>;
}

/**
 * lifecycle-utils keeps its locks by module, so this has to be the copy that node-llama-cpp has. It is loaded here, before anything
 * asks: a free lock must be taken at once, as node-llama-cpp takes it.
 */
const resolver = createRequire(fileURLToPath(import.meta.resolve("node-llama-cpp")));
const {withLock} = await import(pathToFileURL(resolver.resolve("lifecycle-utils")).href) as LifecycleUtils;

/** Runs `work` while nobody else changes or evaluates the context. node-llama-cpp takes the same lock for that. */
export function withContextLock<T>(context: LlamaContext, work: () => Promise<T>): Promise<T> {
    return withLock([context, "context"], work);
}

/** Runs `work` while nobody evaluates the sequence. node-llama-cpp takes the same lock for that. */
export function withSequenceLock<T>(sequence: LlamaContextSequence, work: () => Promise<T>): Promise<T> {
    return withLock([sequenceInternals(sequence)._lock, "evaluate"], work);
}

/** An option of node-llama-cpp's evaluations: the caller has the sequence's lock already. */
export const underItsLock = {_skipLock: true} as object;
