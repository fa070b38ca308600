import {nativeTier} from "../context/pack.js";
import type {LayerGroup, ModelOutline, ModelShape, NativeBinding} from "../engine/native.js";
import {loadNative} from "../engine/load.js";
import type {ErrorCode} from "../errors.js";
import {builtInTiers, type Tier} from "../policy/tiers.js";
import {limitsOf, memoryKindOf, type MemoryKind} from "./memory-kinds.js";
import {outlineModel} from "./outline.js";

/** node-llama-cpp's. */
const defaultBatchSize = 512;

/** Tokens of one sequence whose memory is told. */
export const reportedTokens = [8192, 32_768, 131_072] as const;
export const reportedTiers = ["high", "conservative", "recommended"] as const;
export type ReportedTier = (typeof reportedTiers)[number];

/** What a model's files say of its memory, without its weights. */
export interface ModelReport {
    architecture: string;
    memory: MemoryKind;
    /** Tokens of the context that it was trained with. */
    trainedTokens: number;
    layers: {
        all: number;
        /** That attend to all tokens. */
        attention: number;
        window: number;
        recurrent: number;
    };
    /** Tokens of the sliding window; 0 if there is none. */
    window: number;
    supported: boolean;
    code: ErrorCode | null;
    reason: string | null;
    /** What a packed cache of it can't do. */
    limits: string[];
    /** Of one sequence. Empty where it isn't served. */
    memoryBytes: SequenceBytes[];
}

export interface SequenceBytes {
    tokens: number;
    stockBytes: number;
    /** Recurrent states, which llama.cpp keeps, in each of the others. */
    bytesBeside: number;
    /** Without those that can't serve the model. */
    tiers: Partial<Record<ReportedTier, number>>;
}

/**
 * @param path of a GGUF file, of which only the header is read
 * @param tier that is tried
 * @throws DeltaStoreError MODEL_UNSUPPORTED if llama.cpp can't load it
 */
export async function reportModel(path: string, tier: Tier): Promise<ModelReport> {
    const outline = await outlineModel(path, tier), {refusal, shape} = outline;
    return {
        architecture: outline.architecture, memory: memoryKindOf(outline), trainedTokens: outline.trainedTokens, layers: layersOf(outline),
        window: shape.window, supported: refusal === null, code: refusal === null ? null : refusal.code as ErrorCode, reason: refusal?.reason ?? null,
        limits: refusal === null ? limitsOf(outline) : [],
        memoryBytes: refusal === null ? sequenceBytes(await loadNative(), shape, reportedTiers.filter((name) => !outline.alibi || !evicts(name))) : []
    };
}

/** Tokens that llama.cpp is asked to evaluate in one go: node-llama-cpp asks for one more where there are windows. */
export const batchOf = ({windows}: ModelShape, batchSize = defaultBatchSize): number => windows.length > 0 ? batchSize + 1 : batchSize;

/** What one sequence takes with stock's F16 cache and with tiers, by the engine's own layouts. */
export function sequenceBytes(native: NativeBinding, shape: ModelShape, tiers: readonly ReportedTier[] = reportedTiers): SequenceBytes[] {
    return reportedTokens.map((tokens) => {
        const forecast = (tier: Tier | null) => native.forecast(shape, tier === null ? null : nativeTier(tier), {sequences: 1, tokens, batchSize: batchOf(shape)});
        const {stockBytes, bytesBeside} = forecast(null);
        return {tokens, stockBytes, bytesBeside, tiers: Object.fromEntries(tiers.map((name) => [name, forecast(builtInTiers.get(name)!).residentBytes!]))};
    });
}

const evicts = (name: ReportedTier): boolean => builtInTiers.get(name)!.eviction !== null;

function layersOf({layers, recurrentLayers, shape}: ModelOutline): ModelReport["layers"] {
    const count = (groups: readonly LayerGroup[]) => groups.reduce((sum, group) => sum + group.count, 0);
    return {all: layers, attention: count(shape.attention), window: count(shape.windows), recurrent: recurrentLayers};
}
