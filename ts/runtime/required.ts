import * as nodeLlamaCpp from "node-llama-cpp";
import {GgufInsights, type Llama, LlamaChatSession, LlamaContext, LlamaContextSequence, LlamaModel} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import {llamaInternals} from "./internals.js";
import {nameOf, whatToInstall, type FoundRuntime} from "./release.js";

interface Class {
    readonly name: string;
    readonly prototype: object;
    toString(): string;
}

/** Private methods that this package calls or replaces, of node-llama-cpp's classes. */
const methods: readonly (readonly [of: Class, names: readonly string[]])[] = [
    [LlamaContext, ["_decodeTokens", "_dispatchErrorForQueuedDecodesAndDequeue", "_reclaimUnusedSequenceId"]],
    [LlamaContextSequence, ["_decodeTokens", "_eraseContextTokenRanges", "saveStateToFile", "loadStateFromFile"]],
    [LlamaModel, ["_getOrLoadLora", "createContext"]],
    [GgufInsights, ["estimateContextResourceRequirementsV2"]]
];

/**
 * What can be seen of an instance only, or of classes that are not exported. A class that has it, or uses it, has its name in its source. Options of
 * calls are among it.
 */
const names: readonly (readonly [of: Class, names: readonly string[]])[] = [
    [LlamaContext, [
        "_ctx", "_backendContextDisposeGuard", "_unusedSequenceIds", "_queuedDecodes", "_onReclaimUnusedSequenceId", "sequenceId", "firstTokenSequenceIndex",
        "afterBatchAction", "initBatch", "addToBatch", "decodeBatch", "createPreventDisposalHandle"
    ]],
    [LlamaContextSequence, [
        "_sequenceId", "_disposed", "_contextTokens", "_nextTokenIndex", "_loadedTokenPredictions", "_checkpoints", "_lock", "_skipLock", "clearAllCheckpoints",
        "pruneFromEndToIndex", "afterBatchAction", "removeTokenCellsFromSequence", "restoreCheckpoint"
    ]],
    [LlamaModel, ["_modelPath", "_backendModelDisposeGuard"]],
    [LlamaChatSession, ["_lastEvaluation", "cleanHistory", "contextWindow", "contextShiftMetadata", "_canUseContextWindowForCompletion"]],
    [GgufInsights, ["_exactContextResourceRequirementsCache"]],
    ...decisionContexts()
];

/** They are there since 3.22. */
function decisionContexts(): (readonly [of: Class, names: readonly string[]])[] {
    const {LlamaDecisionContext} = nodeLlamaCpp as Partial<typeof nodeLlamaCpp>;
    return LlamaDecisionContext === undefined ? [] : [[LlamaDecisionContext, ["_llamaContext"]]];
}

/** Methods of the native context. */
const nativeMethods: readonly string[] = [
    "init", "dispose", "initBatch", "addToBatch", "decodeBatch", "disposeSequence", "removeTokenCellsFromSequence", "getSequenceKvCacheMaxPosition",
    "saveSequenceStateToFile", "loadSequenceStateFromFile", "restoreCheckpoint", "shiftSequenceTokenCells", "setLoras"
];

/**
 * Looks for each private member of node-llama-cpp that this package relies on. A release that was not tested may have renamed one.
 * @throws DeltaStoreError RUNTIME_UNSUPPORTED, which names what is missing
 */
export function requireInternals(llama: Llama, runtime: FoundRuntime): void {
    const missing = missingInternals(llama);
    if (missing.length === 0) return;
    throw new DeltaStoreError("RUNTIME_UNSUPPORTED", `${nameOf(runtime)} can't be served, as it lacks what llama-deltastore relies on: ${missing.join(", ")}. ${whatToInstall()}`);
}

function missingInternals(llama: Llama): string[] {
    const missing: string[] = [];
    const lacks = (of: string, name: string) => missing.push(`${of}.${name}`);
    for (const [of, wanted] of methods)
        for (const name of wanted) if (!isFunction((of.prototype as Record<string, unknown>)[name])) lacks(of.name, name);
    for (const [of, wanted] of names) {
        const source = Function.prototype.toString.call(of);
        for (const name of wanted) if (!new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(source)) lacks(of.name, name);
    }
    const {AddonContext, getGgmlType} = llamaInternals(llama)._bindings as Partial<ReturnType<typeof llamaInternals>["_bindings"]> | undefined ?? {};
    if (!isFunction(getGgmlType)) lacks("Llama", "_bindings.getGgmlType");
    if (!isFunction(AddonContext)) lacks("Llama", "_bindings.AddonContext");
    else for (const name of nativeMethods) if (!isFunction((AddonContext.prototype as unknown as Record<string, unknown>)[name])) lacks("AddonContext", name);
    return missing;
}

const isFunction = (value: unknown): value is (...of: never) => unknown => typeof value === "function";
