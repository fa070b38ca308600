import {inspect} from "node:util";
import {LlamaContext, LlamaDecisionContext} from "node-llama-cpp";
import {invalid} from "../options.js";
import type {AddonContext} from "./addon.js";
import {contextInternals, decisionContextInternals} from "./internals.js";

export const addonContextOf = (context: LlamaContext): AddonContext => contextInternals(context)._ctx;

/** @throws DeltaStoreError OPTION_INVALID: it is neither a LlamaContext nor a LlamaDecisionContext */
export function requireAddonContext(context: unknown): AddonContext {
    if (context instanceof LlamaDecisionContext) return requireAddonContext(decisionContextInternals(context)._llamaContext);
    if (!(context instanceof LlamaContext)) throw invalid(`A LlamaContext is needed; given was ${inspect(context, {depth: -1})}`);
    return addonContextOf(context);
}

/** Whether these options of createContext are for an embedding or ranking context. node-llama-cpp makes those by createContext, too. */
export function isForEmbeddings(options: object): boolean {
    return Boolean((options as {_embeddings?: unknown})._embeddings);
}
