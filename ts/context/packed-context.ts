import {warnOfEarlierVersion} from "../engine/earlier-versions.js";
import {DeltaStoreError, isUnsupported, toDeltaStoreError, type ErrorCode} from "../errors.js";
import type {NativeBinding} from "../engine/native.js";
import {checkStateFile, writeStateFile} from "../engine/state-file.js";
import {invalid} from "../options.js";
import type {AddonContextClass, AddonContextParams, AddonLora} from "../runtime/addon.js";
import {currentCreation, type Creation} from "./creation.js";
import {forgetCheckpoints, pruneCheckpoints} from "../runtime/sequences.js";
import {adopt, cellsOf, newPacked} from "./pack.js";
import {packedOf, setPacked, type Packed} from "./packed.js";
import {restoringFor} from "./restoring.js";
import type {PrefixSharing} from "./prefix-sharing.js";

/** The class that takes the place of node-llama-cpp's native context. A context that is created with a tier gets a packed cache; others stay as they are. */
export function packedContextClass(Stock: AddonContextClass, native: NativeBinding): AddonContextClass {
    return class PackedContext extends Stock {
        readonly #params: AddonContextParams;
        readonly #creation: Creation | undefined;
        readonly #handle: {dispose(): void} | undefined;
        #initialising: Promise<boolean> | undefined;
        #admitted = 0;
        /** The sequences whose prompts end in this batch: their next token is wanted. */
        readonly #generating = new Set<number>();
        readonly #added: {sequenceId: number; first: number; tokens: Uint32Array}[] = [];
        #disposed = false;
        #vocabulary = Infinity;

        constructor(model: object, params: AddonContextParams) {
            const creation = currentCreation.getStore();
            if (creation?.failure !== undefined) throw creation.failure;
            super(model, params);
            this.#params = params;
            this.#creation = creation;
            this.#handle = creation?.handles.at(-1);
        }

        get #sharing(): PrefixSharing | null {
            return this.#disposed ? null : packedOf(this)?.sharing ?? null;
        }

        get #packed(): boolean {
            return packedOf(this) !== undefined;
        }

        override async init(): Promise<boolean> {
            this.#initialising = this.#init();
            return await this.#initialising;
        }

        // Disposing the model or the Llama instance disposes this, too. Another thread may be replacing the memory then, so that is awaited.
        override async dispose(): Promise<void> {
            this.#disposed = true;
            const packed = packedOf(this);
            packed?.parking?.dispose();
            await this.#initialising?.catch(() => undefined);
            await super.dispose();
            if (packed !== undefined) await Promise.allSettled(packed.saving);
        }

        async #init(): Promise<boolean> {
            const tier = this.#creation?.tier;
            if (this.#creation === undefined || tier === null || tier === undefined || this.#params.embeddings || this.#params.ranking)
                return await super.init();
            const {owner, model} = this.#creation, params = this.#params;
            native.prepareContext(this);
            if (!await super.init()) return false;
            try {
                await adopt(this, native, owner, tier, params);
                this.#vocabulary = native.vocabularySize(this);
                setPacked(this, newPacked(this, native, owner, tier, params, model));
                return true;
            } catch (error) {
                const typed = toDeltaStoreError(error);
                if (owner.fallsBackToStock(typed, this.#creation.flashAttentionOff)) {
                    this.#creation.tier = null;  // also for the further contexts of this call, so that one warning is all
                    native.restoreContext(this, cellsOf(params));
                    return await super.init();
                }
                // A smaller context could not be served either.
                if (isUnsupported(typed) || (typed as Partial<DeltaStoreError>).code === "POOL_LIMIT_REACHED") this.#creation.failure = typed;
                await super.dispose();
                this.#handle?.dispose();
                throw typed;
            }
        }

        override initBatch(size: number): void {
            super.initBatch(size);
            this.#admitted = 0;
            this.#generating.clear();
            this.#added.length = 0;
            if (this.#packed) native.beginAdmission(this);
        }

        // What has no room, or is no token, is refused here. node-llama-cpp then rejects only this sequence's evaluation; for decodeBatch it would reject
        // the whole batch.
        override addToBatch(sequenceId: number, first: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array {
            const unknown = tokens.find((token) => token >= this.#vocabulary);
            if (unknown !== undefined) throw invalid(`The tokens to evaluate have ${unknown | 0}; the model has the tokens 0 to ${this.#vocabulary - 1}`);
            if (this.#packed && !this.#admit(sequenceId, first, tokens.length)) throw this.#failure("POOL_LIMIT_REACHED");
            this.#admitted++;
            this.#added.push({sequenceId, first, tokens});
            if (logitIndexes.length > 0) this.#generating.add(sequenceId);
            return super.addToBatch(sequenceId, first, tokens, logitIndexes);
        }

        override async decodeBatch(): Promise<void> {
            const packed = packedOf(this);
            if (packed === undefined) return await super.decodeBatch();
            try {
                if (this.#admitted > 0) await this.#decode(packed);
            } finally {
                await packed.between.drain();
            }
        }

        async #decode({tiers, pressure}: Packed): Promise<void> {
            try {
                await this.#coded(super.decodeBatch());
            } catch (error) {
                // Admission does not count the rows that a shift copies. So the next try gets all the room there is.
                if ((error as Partial<DeltaStoreError>).code === "POOL_LIMIT_REACHED") while (this.#sharing?.dropOldest());
                throw error;
            }
            for (const {sequenceId, first, tokens} of this.#added) this.#sharing?.appended(sequenceId, first, tokens);
            for (const sequenceId of this.#generating) await tiers.evictIfDue(sequenceId);
            await pressure.relieve();
        }

        override removeTokenCellsFromSequence(sequenceId: number, start: number, end: number): boolean {
            // False makes node-llama-cpp go back to a checkpoint, and evaluate the rest again.
            if (this.#packed) {
                const inside = end >= 0 && end <= this.getSequenceKvCacheMaxPosition(sequenceId);
                if ((inside && !native.canShift(this)) || !native.canGoOn(this, sequenceId, start)) return false;
            }
            if (start <= 0 && end < 0)
                return this.#emptying(sequenceId, () => super.removeTokenCellsFromSequence(sequenceId, start, end));
            this.#changing(sequenceId, start);
            return super.removeTokenCellsFromSequence(sequenceId, start, end);
        }

        // node-llama-cpp goes back to positions before a checkpoint's last, too. The checkpoint may lack their windows.
        override async restoreCheckpoint(checkpoint: object, lastPosition: number, sequenceId = restoringFor.getStore()?.sequenceId): Promise<boolean> {
            const erasing = restoringFor.getStore();
            if (erasing !== undefined && lastPosition >= erasing.from) {  // it was taken by a batch that this erasing has waited for
                const sequence = packedOf(this)?.lives.at(erasing.sequenceId)?.sequence;
                if (sequence !== undefined) pruneCheckpoints(sequence, erasing.from);
                return false;
            }
            if (sequenceId !== undefined) this.#changing(sequenceId, lastPosition + 1);
            if (!await super.restoreCheckpoint(checkpoint, lastPosition, sequenceId)) return false;
            return !this.#packed || (sequenceId !== undefined && native.canGoOn(this, sequenceId, lastPosition + 1));
        }

        override shiftSequenceTokenCells(sequenceId: number, start: number, end: number, delta: number): void {
            this.#changing(sequenceId, start);
            super.shiftSequenceTokenCells(sequenceId, start, end, delta);
        }

        override disposeSequence(sequenceId: number): void {
            this.#emptying(sequenceId, () => super.disposeSequence(sequenceId));
        }

        /** Rows from `start` on are about to go, or to move. */
        #changing(sequenceId: number, start: number): void {
            const packed = packedOf(this), life = packed?.lives.at(sequenceId);
            this.#sharing?.truncated(sequenceId, start);
            if (life !== undefined) packed?.parking?.changing(life);
        }

        #emptying<T>(sequenceId: number, empty: () => T): T {
            const packed = packedOf(this), life = packed?.lives.at(sequenceId);
            this.#sharing?.ending(sequenceId);
            const result = empty();
            this.#sharing?.trim();
            if (!this.#disposed) packed?.tiers.emptied(sequenceId);
            if (life === undefined) return result;
            packed?.pressure.emptied(life);
            packed?.parking?.forget(life);
            return result;
        }

        override setLoras(loras: AddonLora[], scales: number[]): void {
            this.#sharing?.forgetAll();
            packedOf(this)?.origin.setAdapters(loras, scales);
            super.setLoras(loras, scales);
        }

        override async saveSequenceStateToFile(path: string, sequenceId: number, tokens: Uint32Array): Promise<number> {
            if (!this.#packed) return await super.saveSequenceStateToFile(path, sequenceId, tokens);
            const what = `The state file ${path} can't be written: `, {lives, origin, parking} = packedOf(this)!, life = lives.at(sequenceId);
            await origin.known();
            if (life !== undefined) await parking?.comeBack(life);
            native.takeFailure(this);  // of an earlier call
            return await writeStateFile(path, (file) => this.#coded(super.saveSequenceStateToFile(file, sequenceId, tokens), "STATE_WRITE_FAILED", what));
        }

        override async loadSequenceStateFromFile(path: string, sequenceId: number, maxTokens: number): Promise<Uint32Array> {
            if (!this.#packed) return await super.loadSequenceStateFromFile(path, sequenceId, maxTokens);
            this.disposeSequence(sequenceId);  // node-llama-cpp has forgotten the tokens already, but not the checkpoints
            const sequence = packedOf(this)!.lives.at(sequenceId)?.sequence;
            if (sequence !== undefined) forgetCheckpoints(sequence);
            const isEarlier = await checkStateFile(path, maxTokens, native.stateFileVersion) === "earlier";
            const what = `The state file ${path} can't be loaded: `;
            const {pressure, lives, origin} = packedOf(this)!, life = lives.at(sequenceId);
            await origin.known();
            const load = async (): Promise<Uint32Array> => {
                native.takeFailure(this);  // of an earlier call
                try {
                    return await this.#coded(super.loadSequenceStateFromFile(path, sequenceId, maxTokens), "STATE_DAMAGED", what);
                } catch (error) {
                    if ((error as DeltaStoreError).code !== "POOL_LIMIT_REACHED" || !await pressure.giveUp()) throw error;
                    return await load();
                }
            };
            const tokens = await load();
            if (isEarlier) warnOfEarlierVersion(`The state file ${path}`, path, "position settings, nor adapters (LoRA)");
            if (life !== undefined) pressure.touched(life);
            const held = native.stats(this).sequences.find(({id}) => id === sequenceId)?.tokens ?? 0;
            // More are of token predictions that were not used.
            if (held === tokens.length || (held > tokens.length && this.removeTokenCellsFromSequence(sequenceId, tokens.length, -1))) return tokens;
            this.disposeSequence(sequenceId);
            if (held > tokens.length)
                throw new DeltaStoreError("STATE_DAMAGED", `The state file ${path} has the recurrent state of token predictions that were not used, behind its ${tokens.length} tokens`);
            throw new DeltaStoreError("STATE_DAMAGED", `The state file ${path} has ${tokens.length} tokens and rows of ${held}`);
        }

        #admit(sequenceId: number, first: number, tokens: number): boolean {
            try {
                while (!native.admit(this, sequenceId, first, tokens))
                    if (!this.#sharing?.dropOldest()) return false;
                native.takeFailure(this);
                return true;
            } catch (error) {
                throw toDeltaStoreError(error);
            }
        }

        /** @param what begins the message */
        #failure(fallback: ErrorCode, what = "", cause?: unknown): DeltaStoreError {
            const failure = native.takeFailure(this);
            if (failure !== null) return new DeltaStoreError(failure.code as ErrorCode, what + failure.message, {cause});
            if (cause === undefined) return new DeltaStoreError(fallback, `${what}The engine refused the request`);
            return new DeltaStoreError(fallback, what + (cause instanceof Error ? cause.message : String(cause)), {cause});
        }

        async #coded<T>(result: Promise<T>, fallback: ErrorCode = "NATIVE_FAILURE", what = ""): Promise<T> {
            try {
                return await result;
            } catch (error) {
                throw this.#failure(fallback, what, error);
            }
        }
    };
}
