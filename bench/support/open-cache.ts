import type {LlamaContext} from "node-llama-cpp";
import type {AddonContext} from "../../ts/runtime/addon.js";
import type {BenchCache} from "../caches.js";
import {batchSize, type BenchModel} from "./bench-model.js";

type Handle = AddonContext & {setThreads(count: number): void; getMemoryBreakdown(): {cpuRam: number}};

/** A token stream; neither speed nor memory depends on what it says. The smallest vocabulary, of random weights, has 384 tokens. */
const tokens = (from: number, to: number) => Uint32Array.from({length: to - from}, (_, i) => 3 + ((from + i) * 7919) % 380);

/** A context with one of the caches, driven as node-llama-cpp's own batching drives it. */
export class OpenCache {
    readonly handle: Handle;

    constructor(readonly cache: BenchCache, readonly context: LlamaContext, readonly sequences: number, readonly model: BenchModel) {
        this.handle = (context as unknown as {_ctx: Handle})._ctx;
        this.handle.setThreads(model.threads);
    }

    get name(): string {
        return this.cache.name;
    }

    /** Evaluates these positions of the first sequence, in as few batches as may be. */
    async prefill(from: number, to: number): Promise<void> {
        for (let at = from; at < to; at += batchSize) {
            const part = tokens(at, Math.min(at + batchSize, to));
            this.handle.initBatch(part.length);
            this.handle.addToBatch(0, at, part, Uint32Array.of(part.length - 1));
            await this.handle.decodeBatch();
        }
    }

    /** Evaluates one token of every sequence, in one batch. */
    async decode(position: number): Promise<void> {
        this.handle.initBatch(this.sequences);
        for (let sequence = 0; sequence < this.sequences; sequence++)
            this.handle.addToBatch(sequence, position, tokens(position, position + 1), Uint32Array.of(0));
        await this.handle.decodeBatch();
    }

    /** Drops what is at this position and after it, in every sequence. */
    cut(position: number): void {
        for (let sequence = 0; sequence < this.sequences; sequence++) this.handle.removeTokenCellsFromSequence(sequence, position, -1);
    }

    async save(file: string, count: number): Promise<void> {
        await this.handle.saveSequenceStateToFile(file, 0, tokens(0, count));
    }

    async load(file: string, count: number): Promise<void> {
        for (let sequence = 0; sequence < this.sequences; sequence++) await this.handle.loadSequenceStateFromFile(file, sequence, count);
    }

    /** What the cache takes for so many tokens of each sequence: reported by ours, computed for stock's. Recurrent states are never quantized. */
    bytes(count: number): number {
        const {bitsPerValue} = this.cache, {model, sequences} = this;
        if (bitsPerValue === undefined) return model.store.stats(this.context).residentBytes;
        const states = sequences * model.shape.stateBytes;
        return states + (model.stockBytes(sequences, count) - states) * bitsPerValue / 16;
    }

    async dispose(): Promise<void> {
        await this.context.dispose();
    }
}
