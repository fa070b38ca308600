import {inspect} from "node:util";
import * as nodeLlamaCpp from "node-llama-cpp";
import {LlamaContext, type LlamaDecisionContext} from "node-llama-cpp";
import {invalid} from "../options.js";
import type {AddonContext} from "./addon.js";
import {contextInternals, decisionContextInternals} from "./internals.js";

export const addonContextOf = (context: LlamaContext): AddonContext => contextInternals(context)._ctx;

/** Whether it is a decision context, which node-llama-cpp has since 3.22. */
function isDecisionContext(context: unknown): context is LlamaDecisionContext {
    const {LlamaDecisionContext} = nodeLlamaCpp as Partial<typeof nodeLlamaCpp>;
    return LlamaDecisionContext !== undefined && context instanceof LlamaDecisionContext;
}

/** @throws DeltaStoreError OPTION_INVALID: it is neither a LlamaContext nor a LlamaDecisionContext */
export function requireAddonContext(context: unknown): AddonContext {
    if (isDecisionContext(context)) return requireAddonContext(decisionContextInternals(context)._llamaContext);
    if (!(context instanceof LlamaContext)) throw invalid(`A LlamaContext is needed; given was ${inspect(context, {depth: -1})}`);
    return addonContextOf(context);
}

/** Whether these options of createContext are for an embedding or ranking context. node-llama-cpp makes those by createContext, too. */
export function isForEmbeddings(options: object): boolean {
    return Boolean((options as {_embeddings?: unknown})._embeddings);
}
