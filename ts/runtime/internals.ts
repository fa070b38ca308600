/**
 * The private members of node-llama-cpp that this package relies on. `required.ts` looks for each by its name when a store is attached. Only `runtime/` reads and sets them, and
 * `context/patch-runtime.ts` replaces methods among them. Everybody else asks the functions of `runtime/`.
 */
import type {ChatHistoryItem, GgmlType, Llama, LlamaChatSession, LlamaContext, LlamaContextSequence, LlamaDecisionContext, LlamaModel} from "node-llama-cpp";
import type {AddonContext, AddonContextClass, AddonLora} from "./addon.js";
import type {AfterBatchAction, Decode, DecodeRequest} from "./decode-request.js";

export interface LlamaInternals {
    _bindings: {
        AddonContext: AddonContextClass;
        /** Takes llama.cpp's name or number of the type. */
        getGgmlType(type: unknown): GgmlType | undefined;
    };
}

export interface LlamaFactory {
    _create(...options: unknown[]): Promise<Llama>;
}

export interface DisposeGuard {
    createPreventDisposalHandle(ignoreAwaiting?: boolean): DisposalHandle;
}

/** Keeps its object from being disposed until it is disposed itself. */
export interface DisposalHandle {
    dispose(): void;
}

export interface ContextInternals {
    _ctx: AddonContext;
    _backendContextDisposeGuard: DisposeGuard;
    /** Numbers that disposed sequences gave back. */
    _unusedSequenceIds: number[];
    /** Requests that are not evaluated yet, or not whole. */
    _queuedDecodes: readonly DecodeRequest[];
    /** Rejects these requests and takes them out of the queue. */
    _dispatchErrorForQueuedDecodesAndDequeue(requests: ReadonlySet<DecodeRequest>, error: unknown): void;
    _onReclaimUnusedSequenceId: {dispatchEvent(): void};
    _reclaimUnusedSequenceId(sequenceId: number): Promise<void> | undefined;
    _decodeTokens(...args: Parameters<Decode>): ReturnType<Decode>;
}

export interface DecisionContextInternals {
    _llamaContext: LlamaContext;
}

export interface SequenceInternals {
    _sequenceId: number;
    _disposed: boolean;
    _contextTokens: number[];
    _nextTokenIndex: number;
    _loadedTokenPredictions: unknown[];
    _checkpoints: SequenceCheckpoints;
    /** Evaluations of the sequence lock it. */
    _lock: object;
    _eraseContextTokenRanges(ranges: unknown[], options?: object): Promise<void>;
    /** Since 3.22. */
    _copyStateFromOtherSequence?(other: unknown, upToTokenIndex: number): Promise<boolean>;
    _decodeTokens(tokens: unknown, logits: unknown, priority: unknown, meter: unknown, contextShift: object, map: unknown,
                  afterBatchAction?: AfterBatchAction): Promise<unknown[]>;
}

/** States of windows and recurrent layers that a sequence can go back to. */
export interface SequenceCheckpoints {
    clearAllCheckpoints(): void;
    /** Since 3.22. */
    cloneCheckpointsStateFrom?(other: SequenceCheckpoints): void;
    pruneFromEndToIndex(index: number): void;
}

export interface ChatSessionInternals {
    /** After a context shift the window is shorter than the history. The metadata says what was cut. */
    _lastEvaluation?: {cleanHistory: ChatHistoryItem[]; contextWindow: ChatHistoryItem[]; contextShiftMetadata: unknown} | undefined;
    _canUseContextWindowForCompletion: boolean;
}

export interface ModelInternals {
    _modelPath: string;
    _backendModelDisposeGuard: DisposeGuard;
    /** Loads each file once. */
    _getOrLoadLora(filePath: string): Promise<AddonLora>;
    fileInsights: {_exactContextResourceRequirementsCache: {get(key: string): unknown; set(key: string, value: unknown): unknown}};
}

export const llamaInternals = (llama: Llama) => llama as unknown as LlamaInternals;
export const contextInternals = (context: LlamaContext) => context as unknown as ContextInternals;
export const decisionContextInternals = (context: LlamaDecisionContext) => context as unknown as DecisionContextInternals;
export const sequenceInternals = (sequence: LlamaContextSequence) => sequence as unknown as SequenceInternals;
export const chatSessionInternals = (session: LlamaChatSession) => session as unknown as ChatSessionInternals;
export const modelInternals = (model: LlamaModel) => model as unknown as ModelInternals;
