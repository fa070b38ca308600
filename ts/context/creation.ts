import {AsyncLocalStorage} from "node:async_hooks";
import type {LlamaModel} from "node-llama-cpp";
import type {Tier} from "../policy/tiers.js";
import type {ContextOwner} from "./owner.js";

/**
 * What one `createContext` call asked for. node-llama-cpp makes its native context several calls deeper, and others before it to
 * estimate memory. So the request travels with the asynchronous flow.
 */
export interface Creation {
    readonly owner: ContextOwner;
    readonly model: LlamaModel;
    /** Null for the stock cache. */
    tier: Tier | null;
    /** The app turned flash attention off and asked for no tier. */
    readonly flashAttentionOff: boolean;
    /** The first error of this call. node-llama-cpp would try again with smaller contexts, which can't help. */
    failure: unknown;
    /** They keep the model from being disposed. node-llama-cpp forgets them when a context can't be made. */
    readonly handles: {dispose(): void}[];
}

export const currentCreation = new AsyncLocalStorage<Creation>();
