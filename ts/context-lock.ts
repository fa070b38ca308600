import {createRequire} from "node:module";
import {fileURLToPath, pathToFileURL} from "node:url";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {sequenceInternals} from "./runtime-internals.js";

interface LifecycleUtils {
    withLock<T>(scope: [object, string], work: () => Promise<T>): Promise<T>;
}

let lifecycle: Promise<LifecycleUtils> | undefined;

/** Locks are kept by module, so it has to be the copy of lifecycle-utils that node-llama-cpp has. */
async function lifecycleUtils(): Promise<LifecycleUtils> {
    const resolver = createRequire(fileURLToPath(import.meta.resolve("node-llama-cpp")));
    return await import(pathToFileURL(resolver.resolve("lifecycle-utils")).href) as LifecycleUtils;
}

/** Runs `work` while nothing else changes or evaluates the context: under the lock that node-llama-cpp itself takes for it. */
export async function withContextLock<T>(context: LlamaContext, work: () => Promise<T>): Promise<T> {
    const {withLock} = await (lifecycle ??= lifecycleUtils());
    return await withLock([context, "context"], work);
}

/** Runs `work` while the sequence is not evaluated, under node-llama-cpp's own lock for that. */
export async function withSequenceLock<T>(sequence: LlamaContextSequence, work: () => Promise<T>): Promise<T> {
    const {withLock} = await (lifecycle ??= lifecycleUtils());
    return await withLock([sequenceInternals(sequence)._lock, "evaluate"], work);
}
