import {AsyncLocalStorage} from "node:async_hooks";
import type {LlamaModel} from "node-llama-cpp";
import type {DeltaStore} from "../store/store.js";
import type {Tier} from "../policy/tiers.js";

/**
 * What one `createContext` call asked for. node-llama-cpp makes its native context several calls deeper, and simulated ones to
 * estimate memory, so the request travels with the asynchronous flow.
 */
export interface Creation {
    store: DeltaStore;
    readonly model: LlamaModel;
    /** null: the stock cache. */
    tier: Tier | null;
    /** The app turned flash attention off and asked for no tier. */
    flashAttentionOff: boolean;
    /** The first error of this call; node-llama-cpp would try again with smaller contexts, which can't help. */
    failure: unknown;
    /** Keep the model from being disposed; node-llama-cpp forgets them when a context can't be made. */
    handles: {dispose(): void}[];
}

export const currentCreation = new AsyncLocalStorage<Creation>();
