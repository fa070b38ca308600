import type {LlamaContext} from "node-llama-cpp";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "../errors.js";
import type {LogitScores, NativeBinding} from "../engine/native.js";
import type {AddonContext} from "../runtime/addon.js";
import {withContextLock} from "../runtime/context-lock.js";
import {addonContextOf} from "../runtime/contexts.js";
import type {DeltaStore} from "../store/store.js";
import type {EvalCache} from "./caches.js";

/** Tokens of one evaluation, at most. It is node-llama-cpp's default. */
export const batchSize = 512;

/** A context with one of the caches, driven token by token. The context's lock keeps other users out of each step. */
export class EvalContext {
    readonly #handle: AddonContext;
    readonly #evaluated = new Map<number, number[]>();

    constructor(readonly cache: EvalCache, readonly context: LlamaContext, readonly store: DeltaStore, readonly native: NativeBinding) {
        this.#handle = addonContextOf(context);
    }

    /**
     * Adds tokens to a sequence.
     * @param wanted how many of the last tokens' logits are returned, a row each; at most `batchSize`. After an evaluation that wants any,
     *     a cache evicts if its slack is full.
     */
    async evaluate(tokens: readonly number[], wanted: number, sequence = 0): Promise<Float32Array> {
        const evaluated = this.#tokensOf(sequence);
        let logits = new Float32Array();
        // The first batch is the short one, so that the last has all logits.
        for (let at = 0, end = tokens.length % batchSize || batchSize; at < tokens.length; at = end, end += batchSize) {
            const batch = Uint32Array.from(tokens.slice(at, end));
            const first = end === tokens.length ? batch.length - wanted : batch.length;
            logits = await this.#alone(() => this.native.evaluateLogits(this.#handle, sequence, evaluated.length, batch, first)) as Float32Array<ArrayBuffer>;
            evaluated.push(...batch);
        }
        return logits;
    }

    /** Adds a prompt's last tokens to a sequence, and gives the last one's logits. A cache that evicts does so then, however short the prompt was. */
    async endPrompt(tokens: readonly number[], sequence = 0): Promise<Float32Array> {
        const logits = await this.evaluate(tokens, 1, sequence);
        const eviction = this.store.policy.tiers.get(this.cache.options.kvCache)?.eviction ?? null;
        if (eviction !== null) await this.#alone(() => this.native.evict(this.#handle, sequence, eviction));
        return logits;
    }

    /** Has a sequence hold these tokens, and gives the last one's logits. What it holds of their beginning stays, as in a chat. */
    async moveTo(tokens: readonly number[], sequence = 0): Promise<Float32Array> {
        const evaluated = this.#tokensOf(sequence);
        let shared = 0;
        while (shared < tokens.length - 1 && tokens[shared] === evaluated[shared]) shared++;
        if (shared < evaluated.length) {
            if (!this.#onlyAttention) shared = 0;  // windows and recurrent states can't go back
            await this.#alone(async () => this.#handle.removeTokenCellsFromSequence(sequence, shared, -1));
            evaluated.length = shared;
        }
        return await this.endPrompt(tokens.slice(shared), sequence);
    }

    /**
     * Adds tokens to a sequence, and scores each by what stands before it.
     * @param before logits of the sequence's last token
     */
    async scoreNext(before: Float32Array, tokens: readonly number[], sequence = 0): Promise<LogitScores> {
        const rows = new Float32Array(before.length * tokens.length);
        rows.set(before);
        if (tokens.length > 1) rows.set(await this.evaluate(tokens.slice(0, -1), tokens.length - 1, sequence), before.length);
        return await coded(this.native.scoreLogits(rows, Uint32Array.from(tokens)));
    }

    /**
     * The most likely continuation, of `count` tokens at most. It ends sooner with a token that is an end.
     * @param before logits of the sequence's last token
     */
    async generate(before: Float32Array, count: number, isEnd: (token: number) => boolean, sequence = 0): Promise<number[]> {
        const generated: number[] = [];
        for (let logits = before; ; logits = await this.evaluate(generated.slice(-1), 1, sequence)) {
            const {top} = await coded(this.native.scoreLogits(logits, Uint32Array.of(0)));
            generated.push(top[0]!);
            if (generated.length === count || isEnd(top[0]!)) return generated;
        }
    }

    get #onlyAttention(): boolean {
        const {isHybrid, isRecurrent, swaSize} = this.context.model.fileInsights;
        return !isHybrid && !isRecurrent && swaSize === undefined;
    }

    async copy(source: number, target: number): Promise<void> {
        await this.#alone(async () => {
            this.native.copySequence(this.#handle, source, target);
            const failure = this.native.takeFailure(this.#handle);
            if (failure !== null) throw new DeltaStoreError(failure.code as ErrorCode, failure.message);
        });
        this.#evaluated.set(target, [...this.#tokensOf(source)]);
    }

    async clear(sequence = 0): Promise<void> {
        await this.#alone(async () => this.native.clearSequence(this.#handle, sequence));
        this.#evaluated.delete(sequence);
    }

    /** Bytes of stock's F16 cache for the same tokens, over this cache's. Our caches report theirs, those of stock's are computed. */
    memoryRatio(): number {
        const {bitsPerValue} = this.cache;
        if (bitsPerValue !== undefined) return 16 / bitsPerValue;
        const {stockBytes, residentBytes} = this.store.stats(this.context);
        return stockBytes / residentBytes;
    }

    async dispose(): Promise<void> {
        await this.context.dispose();
    }

    async #alone<T>(work: () => Promise<T>): Promise<T> {
        return await coded(withContextLock(this.context, work));
    }

    #tokensOf(sequence: number): number[] {
        const tokens = this.#evaluated.get(sequence) ?? [];
        this.#evaluated.set(sequence, tokens);
        return tokens;
    }
}

async function coded<T>(result: Promise<T>): Promise<T> {
    try {
        return await result;
    } catch (error) {
        throw toDeltaStoreError(error);
    }
}
