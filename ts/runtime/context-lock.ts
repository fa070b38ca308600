import {createRequire} from "node:module";
import {fileURLToPath, pathToFileURL} from "node:url";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {sequenceInternals} from "./internals.js";

interface LifecycleUtils {
    withLock<T>(scope: [object, string], work: () => Promise<T>): Promise<T>;
}

/**
 * Locks are kept by module, so it has to be the copy of lifecycle-utils that node-llama-cpp has. It is there before anything asks: a lock that is
 * free is taken at once, as node-llama-cpp takes it.
 */
const resolver = createRequire(fileURLToPath(import.meta.resolve("node-llama-cpp")));
const {withLock} = await import(pathToFileURL(resolver.resolve("lifecycle-utils")).href) as LifecycleUtils;

/** Runs `work` while nothing else changes or evaluates the context: under the lock that node-llama-cpp itself takes for it. */
export function withContextLock<T>(context: LlamaContext, work: () => Promise<T>): Promise<T> {
    return withLock([context, "context"], work);
}

/** Runs `work` while the sequence is not evaluated, under node-llama-cpp's own lock for that. */
export function withSequenceLock<T>(sequence: LlamaContextSequence, work: () => Promise<T>): Promise<T> {
    return withLock([sequenceInternals(sequence)._lock, "evaluate"], work);
}
