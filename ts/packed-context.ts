import {currentCreation, type Creation} from "./creation.js";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "./errors.js";
import type {CacheEvent} from "./events.js";
import type {Eviction, NativeBinding, NativeTier} from "./native.js";
import type {AddonContextClass, AddonContextParams} from "./runtime-internals.js";
import {pageFormatOf, resolveTier, type Policy, type Tier} from "./policy/tiers.js";
import {keptPrefixSlots, PrefixSharing} from "./prefix-sharing.js";
import {isUnsupported} from "./store.js";
import {checkStateFile, sealStateFile} from "./state-file.js";

interface Packed {
    policy: Policy;
    /** Of sequences that were given no other. */
    tier: Tier;
    /** By sequence; kept prefixes among them. */
    tiers: Map<number, Tier>;
    /** Null if the policy has it off. */
    sharing: PrefixSharing | null;
    /** How often the number of a sequence was given back, to be another's. */
    disposals: Map<number, number>;
    emit: (event: CacheEvent) => void;
    native: NativeBinding;
}

const packedContexts = new WeakMap<object, Packed>();

/** The tier of a native context, of any store, that has a packed cache, or of one of its sequences. */
export function packedTier(context: object, sequenceId?: number): Tier | undefined {
    const packed = packedContexts.get(context);
    return (sequenceId === undefined ? undefined : packed?.tiers.get(sequenceId)) ?? packed?.tier;
}

/** Null for a context with the stock cache. */
export const nativeOf = (context: object): NativeBinding | null => packedContexts.get(context)?.native ?? null;

/** The tiers that a context's sequences can have: rows are rotated in all or in none. */
function tiersBeside(tier: Tier, policy: Policy): Tier[] {
    return [...policy.tiers.values()].filter((other) => other !== tier && (tier.format !== "f16" || other.format === "f16"));
}

/**
 * Gives a sequence of a packed context another tier, for the rows to come.
 * @throws DeltaStoreError TIER_UNKNOWN, OPTION_INVALID, MODEL_UNSUPPORTED
 */
export function setSequenceTier(context: object, sequenceId: number, name: string | undefined): Tier {
    const {policy, tier: own, tiers, native} = packedContexts.get(context)!;
    const tier = name === undefined ? own : resolveTier(policy, name);
    if (tier !== own && !tiersBeside(own, policy).includes(tier))
        throw new DeltaStoreError("OPTION_INVALID", `kvCache is "${tier.name}", but the context's tier "${own.name}" keeps rows as they come, which can't be ` +
            "packed later. Create the context with a tier that packs, and give sequences this one where it is wanted");
    try {
        native.setTier(context, sequenceId, tier.name);
    } catch (error) {
        throw toDeltaStoreError(error);
    }
    tiers.set(sequenceId, tier);
    return tier;
}

/** Drops rows of a sequence, and tells the listeners if some went. Under the context's lock. Rejects if there was no memory for all. */
export async function evictSequence(context: object, sequenceId: number, eviction: Eviction): Promise<void> {
    const {native, emit} = packedContexts.get(context)!;
    const held = () => native.stats(context).sequences.find(({id}) => id === sequenceId);  // undefined for a kept prefix
    const before = held();
    try {
        await native.evict(context, sequenceId, eviction);
    } catch (error) {
        throw toDeltaStoreError(error);
    } finally {
        const after = held();
        if (after !== undefined && after.kept !== before?.kept) emit({type: "evict", sequenceId, tokens: after.tokens, kept: after.kept});
    }
}

/** The same as the sequence's tier says, if it is due. The results of a batch are there by then: without memory to evict, rows stay for now. */
async function evictIfDue(context: object, sequenceId: number): Promise<void> {
    const eviction = packedTier(context, sequenceId)?.eviction ?? null;
    if (eviction !== null && nativeOf(context)!.evictionDue(context, sequenceId)) await evictSequence(context, sequenceId, eviction).catch(() => undefined);
}

function nativeTier(tier: Tier): NativeTier {
    const {name, window, windowFormat, sinks, eviction} = tier;
    return {name, format: pageFormatOf(tier), window, windowFormat, sinks, eviction};
}

/** Differs from what it was if the sequence of this number was disposed meanwhile. */
export const disposalsOf = (context: object, sequenceId: number): number => packedContexts.get(context)?.disposals.get(sequenceId) ?? 0;

/** Tells the listeners of the context's store. */
const emitFor = (context: object, event: CacheEvent): void => packedContexts.get(context)?.emit(event);

export const prefixSharing = (context: object): PrefixSharing | null => packedContexts.get(context)?.sharing ?? null;

/** The class that takes the place of node-llama-cpp's native context: the same, but for contexts that are created with a tier. */
export function packedContextClass(Stock: AddonContextClass, native: NativeBinding): AddonContextClass {
    return class PackedContext extends Stock {
        readonly #params: AddonContextParams;
        readonly #creation: Creation | undefined;
        readonly #handle: {dispose(): void} | undefined;
        #initialising: Promise<boolean> | undefined;
        #admitted = 0;
        /** Sequences of the batch whose next token is wanted: their prompts end here. */
        readonly #generating = new Set<number>();
        readonly #added: {sequenceId: number; first: number; tokens: Uint32Array}[] = [];
        #disposed = false;

        constructor(model: object, params: AddonContextParams) {
            const creation = currentCreation.getStore();
            if (creation?.failure !== undefined) throw creation.failure;
            super(model, params);
            this.#params = params;
            this.#creation = creation;
            this.#handle = creation?.handles.at(-1);
        }

        get #sharing(): PrefixSharing | null {
            return this.#disposed ? null : prefixSharing(this);
        }

        get #packed(): boolean {
            return packedContexts.has(this);
        }

        override async init(): Promise<boolean> {
            this.#initialising = this.#init();
            return await this.#initialising;
        }

        // The model or the Llama instance may be disposed, and this with it, while the memory is being replaced on another thread.
        override async dispose(): Promise<void> {
            this.#disposed = true;
            await this.#initialising?.catch(() => undefined);
            await super.dispose();
        }

        async #init(): Promise<boolean> {
            const tier = this.#creation?.tier;
            if (this.#creation === undefined || tier === null || tier === undefined || this.#params.embeddings || this.#params.ranking)
                return await super.init();
            const {store} = this.#creation;
            native.prepareContext(this);
            if (!await super.init()) return false;
            const cells = this.#params.contextSize ?? 4096, {sharing} = store.policy;
            try {
                await native.adoptContext(this, {
                    tier: nativeTier(tier), others: tiersBeside(tier, store.policy).map(nativeTier),
                    poolLimitBytes: store.policy.poolLimitBytes, keptPrefixes: sharing.automatic ? keptPrefixSlots : 0,
                    contextCells: cells, batchSize: this.#params.batchSize ?? 512
                });
                const emit = (event: CacheEvent) => store.emit(this, event);
                packedContexts.set(this, {
                    policy: store.policy, tier, tiers: new Map(), disposals: new Map(), emit, native,
                    sharing: sharing.automatic ? new PrefixSharing(this, native, sharing, this.#params.sequences ?? 1, {
                        emit, disposalsOf: (sequenceId) => disposalsOf(this, sequenceId), tierOf: (sequenceId) => packedTier(this, sequenceId)!,
                        setTier: (sequenceId, {name}) => setSequenceTier(this, sequenceId, name), evictIfDue: (sequenceId) => evictIfDue(this, sequenceId)
                    }) : null
                });
                return true;
            } catch (error) {
                const typed = toDeltaStoreError(error);
                if (store.fallsBackToStock(typed)) {
                    this.#creation.tier = null;  // for node-llama-cpp's further contexts of this call, so that one warning is all
                    native.restoreContext(this, cells);
                    return await super.init();
                }
                if (isUnsupported(typed)) this.#creation.failure = typed;  // a smaller context could not be served either
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

        // node-llama-cpp rejects only this sequence's evaluation when this throws, and the whole batch when decodeBatch does.
        override addToBatch(sequenceId: number, first: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array {
            if (this.#packed && !this.#admit(sequenceId, first, tokens.length)) {
                const error = this.#failure("POOL_LIMIT_REACHED");
                emitFor(this, {type: "refuse", sequenceId, error});
                throw error;
            }
            this.#admitted++;
            this.#added.push({sequenceId, first, tokens});
            if (logitIndexes.length > 0) this.#generating.add(sequenceId);
            return super.addToBatch(sequenceId, first, tokens, logitIndexes);
        }

        override async decodeBatch(): Promise<void> {
            if (!this.#packed) return await super.decodeBatch();
            if (this.#admitted === 0) return;
            try {
                await this.#coded(super.decodeBatch());
            } catch (error) {
                // What a shift has to copy is not admitted before; the next try has all the room there is.
                const {code} = error as Partial<DeltaStoreError>;
                if (code === "POOL_LIMIT_REACHED") while (this.#sharing?.dropOldest());
                if (code === "POOL_LIMIT_REACHED" || code === "OUT_OF_MEMORY")
                    emitFor(this, {type: "refuse", sequenceId: null, error: error as DeltaStoreError});
                throw error;
            }
            for (const {sequenceId, first, tokens} of this.#added) this.#sharing?.appended(sequenceId, first, tokens);
            for (const sequenceId of this.#generating) await evictIfDue(this, sequenceId);
            await this.#sharing?.runBetweenBatches();
        }

        override removeTokenCellsFromSequence(sequenceId: number, start: number, end: number): boolean {
            // Answering false makes node-llama-cpp evaluate the rest again, where positions can't be shifted.
            if (this.#packed && !native.canShift(this) && end >= 0 && end <= this.getSequenceKvCacheMaxPosition(sequenceId)) return false;
            if (start <= 0 && end < 0) this.#sharing?.ending(sequenceId);
            else this.#sharing?.truncated(sequenceId, start);
            const removed = super.removeTokenCellsFromSequence(sequenceId, start, end);
            if (start <= 0 && end < 0) this.#sharing?.trim();
            return removed;
        }

        override shiftSequenceTokenCells(sequenceId: number, start: number, end: number, delta: number): void {
            this.#sharing?.truncated(sequenceId, start);
            super.shiftSequenceTokenCells(sequenceId, start, end, delta);
        }

        override disposeSequence(sequenceId: number): void {
            packedContexts.get(this)?.disposals.set(sequenceId, disposalsOf(this, sequenceId) + 1);
            this.#empty(sequenceId);
        }

        #empty(sequenceId: number): void {
            this.#sharing?.ending(sequenceId);
            super.disposeSequence(sequenceId);
            this.#sharing?.trim();
        }

        override setLoras(loras: unknown[], scales: number[]): void {
            this.#sharing?.forgetAll();
            super.setLoras(loras, scales);
        }

        override async saveSequenceStateToFile(path: string, sequenceId: number, tokens: Uint32Array): Promise<number> {
            if (!this.#packed) return await super.saveSequenceStateToFile(path, sequenceId, tokens);
            const what = `The state file ${path} can't be written: `;
            const bytes = await this.#coded(super.saveSequenceStateToFile(path, sequenceId, tokens), "STATE_NOT_FOUND", what);
            return bytes + await sealStateFile(path);
        }

        override async loadSequenceStateFromFile(path: string, sequenceId: number, maxTokens: number): Promise<Uint32Array> {
            if (!this.#packed) return await super.loadSequenceStateFromFile(path, sequenceId, maxTokens);
            this.#empty(sequenceId);  // node-llama-cpp has forgotten its tokens already
            await checkStateFile(path, maxTokens);
            const what = `The state file ${path} can't be loaded: `;
            const tokens = await this.#coded(super.loadSequenceStateFromFile(path, sequenceId, maxTokens), "STATE_DAMAGED", what);
            const held = native.stats(this).sequences.find(({id}) => id === sequenceId)?.tokens ?? 0;
            if (held > tokens.length) {  // rows of token predictions that were not used
                this.removeTokenCellsFromSequence(sequenceId, tokens.length, -1);
                return tokens;
            }
            if (held === tokens.length) return tokens;
            this.#empty(sequenceId);
            throw new DeltaStoreError("STATE_DAMAGED", `The state file ${path} has ${tokens.length} tokens and rows of ${held}`);
        }

        override async copySequenceStateFromOtherSequence(target: number, source: number): Promise<number> {
            if (this.#packed) native.takeFailure(this);  // an earlier one is not this call's
            const copied = await super.copySequenceStateFromOtherSequence(target, source);
            const failure = this.#packed ? native.takeFailure(this) : null;
            if (failure !== null) {
                this.#sharing?.truncated(target, 0);
                throw new DeltaStoreError(failure.code as ErrorCode, failure.message);
            }
            this.#sharing?.copied(source, target);
            return copied;
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

        /** @param what the beginning of the message */
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
