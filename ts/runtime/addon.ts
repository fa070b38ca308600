/** node-llama-cpp's native classes, which have no public type. Only what this package calls. */

export interface AddonContextParams {
    contextSize?: number;
    batchSize?: number;
    sequences?: number;
    embeddings?: boolean;
    ranking?: boolean;
    flashAttention?: boolean | "auto";
}

/** The native context behind a LlamaContext. */
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
    /**
     * Whether the sequence then holds the tokens up to `lastPosition`.
     * @param sequenceId since 3.22; before, a checkpoint knows its sequence, and doesn't tell
     */
    restoreCheckpoint(checkpoint: object, lastPosition: number, sequenceId?: number): Promise<boolean>;
    shiftSequenceTokenCells(sequenceId: number, start: number, end: number, delta: number): void;
    setLoras(loras: AddonLora[], scales: number[]): void;
}

/** A native adapter (LoRA). It belongs to one model. */
export interface AddonLora {
    readonly filePath: string;
}

export type AddonContextClass = new (model: object, params: AddonContextParams) => AddonContext;
