import type {LlamaModel} from "node-llama-cpp";
import {modelInternals, type DisposalHandle} from "./internals.js";

/** What is asked while a model's `createContext` runs. */
export interface CreationWatch {
    /** A native context of the call now keeps the model from being disposed. */
    handleMade(handle: DisposalHandle): void;
    /** The error that the call is to end with, if there is one. */
    failure(): unknown;
    /** The key by which the memory that a context needs is remembered. Different caches need different keys. */
    cacheKey(key: string): string;
}

const watched = new WeakSet<LlamaModel>();

/** Has `watch` asked in all `createContext` calls of the model. Only the first call of this function for a model counts. */
export function watchCreations(model: LlamaModel, watch: CreationWatch): void {
    if (watched.has(model)) return;
    watched.add(model);
    const {_backendModelDisposeGuard: guard, fileInsights} = modelInternals(model);
    const createHandle = guard.createPreventDisposalHandle.bind(guard);
    guard.createPreventDisposalHandle = (ignoreAwaiting) => {
        const handle = createHandle(ignoreAwaiting);
        watch.handleMade(handle);
        return handle;
    };
    // After a failure node-llama-cpp would go on with an estimate of its own, and log the same error with each further one.
    const estimate = model.fileInsights.estimateContextResourceRequirementsV2.bind(model.fileInsights);
    model.fileInsights.estimateContextResourceRequirementsV2 = async (options) => {
        const requirements = await estimate(options), failure = watch.failure();
        if (failure !== undefined) throw failure;
        return requirements;
    };
    const cache = fileInsights._exactContextResourceRequirementsCache;
    const [get, set] = [cache.get.bind(cache), cache.set.bind(cache)];
    cache.get = (key) => get(watch.cacheKey(key));
    cache.set = (key, value) => set(watch.cacheKey(key), value);
}
