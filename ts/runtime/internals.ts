/** The parts of node-llama-cpp 3.22.1 that have no public type and that the hook relies on. Nothing else may reach for more. */
import type {ChatHistoryItem, GgmlType, Llama, LlamaChatSession, LlamaContext, LlamaContextSequence, LlamaDecisionContext, LlamaModel} from "node-llama-cpp";

export interface AddonContextParams {
    contextSize?: number;
    batchSize?: number;
    sequences?: number;
    embeddings?: boolean;
    ranking?: boolean;
    flashAttention?: boolean | "auto";
}

/** node-llama-cpp's native context (`context._ctx`). */
export interface AddonContext {
    init(): Promise<boolean>;
    dispose(): Promise<void>;
    initBatch(size: number): void;
    addToBatch(sequenceId: number, firstTokenIndex: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
    decodeBatch(): Promise<void>;
    disposeSequence(sequenceId: number): void;
    removeTokenCellsFromSequence(sequenceId: number, start: number, end: number): boolean;
    getSequenceKvCacheMaxPosition(sequenceId: number): number;
    saveSequenceStateToFile(path: string, sequenceId: number, tokens: Uint32Array): Promise<number>;
    loadSequenceStateFromFile(path: string, sequenceId: number, maxTokens: number): Promise<Uint32Array>;
    /** By number: nothing of what a packed context has besides is told. */
    copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
    shiftSequenceTokenCells(sequenceId: number, start: number, end: number, delta: number): void;
    setLoras(loras: AddonLora[], scales: number[]): void;
}

/** A native adapter (LoRA), of one model. */
export interface AddonLora {
    readonly filePath: string;
}

export type AddonContextClass = new (model: object, params: AddonContextParams) => AddonContext;

export interface LlamaInternals {
    _bindings: {
        AddonContext: AddonContextClass;
        /** By llama.cpp's name or number. */
        getGgmlType(type: unknown): GgmlType | undefined;
    };
}

export interface DisposeGuard {
    createPreventDisposalHandle(ignoreAwaiting?: boolean): {dispose(): void};
}

/** Tokens of one sequence to evaluate, from a position on. */
export interface DecodeRequest {
    sequenceId: number;
    firstTokenSequenceIndex: number;
    tokens: number[];
    /** Whether a token's logits are wanted, token by token. */
    logits: unknown[];
    /** Called after each batch with tokens of the request. */
    afterBatchAction?: AfterBatchAction | undefined;
}

export type AfterBatchAction = (sequenceStateLength: number) => unknown;

/** The tokens [begin, end) of a request. */
export function partOf(request: DecodeRequest, begin: number, end: number): DecodeRequest {
    return {
        ...request, tokens: request.tokens.slice(begin, end), logits: request.logits.slice(begin, end),
        firstTokenSequenceIndex: request.firstTokenSequenceIndex + begin
    };
}

export interface ContextInternals {
    _ctx: AddonContext;
    _backendContextDisposeGuard: DisposeGuard;
    /** Of sequences that were disposed. */
    _unusedSequenceIds: number[];
    /** Requests that are not evaluated, or not whole. */
    _queuedDecodes: readonly DecodeRequest[];
    /** Rejects these, and takes them out of the queue. */
    _dispatchErrorForQueuedDecodesAndDequeue(requests: ReadonlySet<DecodeRequest>, error: unknown): void;
    _onReclaimUnusedSequenceId: {dispatchEvent(): void};
    _reclaimUnusedSequenceId(sequenceId: number): Promise<void> | undefined;
    _decodeTokens(request: DecodeRequest, map: (...of: unknown[]) => unknown): Promise<unknown[]>;
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
    /** What evaluations of the sequence lock. */
    _lock: object;
    _eraseContextTokenRanges(ranges: unknown[], options?: object): Promise<void>;
    _copyStateFromOtherSequence(other: unknown, upToTokenIndex: number): Promise<boolean>;
    _decodeTokens(tokens: unknown, logits: unknown, priority: unknown, meter: unknown, contextShift: object, map: unknown,
                  afterBatchAction?: AfterBatchAction): Promise<unknown[]>;
}

export interface ChatSessionInternals {
    /** After a context shift the window is less than the history, and the metadata says what was cut. */
    _lastEvaluation?: {cleanHistory: ChatHistoryItem[]; contextWindow: ChatHistoryItem[]; contextShiftMetadata: unknown} | undefined;
    _canUseContextWindowForCompletion: boolean;
}

export interface ModelInternals {
    _llama: Llama;
    _modelPath: string;
    _backendModelDisposeGuard: DisposeGuard;
    /** Each file once. */
    _getOrLoadLora(filePath: string): Promise<AddonLora>;
    fileInsights: {_exactContextResourceRequirementsCache: {get(key: string): unknown; set(key: string, value: unknown): unknown}};
}

export const llamaInternals = (llama: Llama) => llama as unknown as LlamaInternals;
export const contextInternals = (context: LlamaContext) => context as unknown as ContextInternals;
export const decisionContextInternals = (context: LlamaDecisionContext) => context as unknown as DecisionContextInternals;
export const sequenceInternals = (sequence: LlamaContextSequence) => sequence as unknown as SequenceInternals;
export const chatSessionInternals = (session: LlamaChatSession) => session as unknown as ChatSessionInternals;
export const modelInternals = (model: LlamaModel) => model as unknown as ModelInternals;
