import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Origin} from "../context/origin.js";
import type {Tier} from "../policy/tiers.js";
import type {PoolPressure} from "../context/pool-pressure.js";
import {commonLength, type PrefixSharing} from "../context/prefix-sharing.js";
import {sequenceInternals, type AddonContext} from "../runtime/internals.js";
import type {SequenceLife} from "../context/sequence-life.js";
import {unlessLost} from "./archive.js";
import {Leftovers} from "./leftovers.js";
import {parkedName} from "./parked-name.js";
import {bringBackLocked, captureLocked, type Capture, type StoredRows} from "./rows.js";
import type {Turns} from "./turns.js";

/** Milliseconds. */
const restAfterFailure = 10_000;

/** Fewer are evaluated as fast as they come back. */
const fewestTokens = 64;

/** What says nothing of the store. */
const ofOthers: readonly unknown[] = ["DISPOSED", "POOL_LIMIT_REACHED", "OUT_OF_MEMORY"];

/** Contexts that are collected without having been disposed leave what they had parked. */
const collected = new FinalizationRegistry(({leftovers, parked}: {leftovers: Leftovers; parked: ReadonlyMap<SequenceLife, string>}) => void leftovers.remove(...parked.values()));

/** An attempt to park a sequence. */
interface Leaving {
    /** Whether it is in vain, as something changed the sequence. */
    changed: boolean;
    captured?: Capture;
    /** Objects that it has stored. At its end those go that nobody holds. */
    readonly stored: Set<string>;
}

export interface ParkingHooks {
    /** Must not hold the context. */
    readonly turns: () => Promise<Turns>;
    tier(sequenceId: number): Tier;
    readonly native: NativeBinding;
    readonly origin: Origin;
    readonly pressure: PoolPressure;
    readonly sharing: PrefixSharing | null;
    emit(event: CacheEvent): void;
}

/** Sequences of one context whose rows are in the store of turns, until they are evaluated again. */
export class Parking {
    readonly #context: AddonContext;
    readonly #hooks: ParkingHooks;
    readonly #timer: NodeJS.Timeout;
    readonly #leftovers: Leftovers;
    /** The names that the store has for parked sequences. */
    readonly #parked = new Map<SequenceLife, string>();
    /** Sequences that are being stored. */
    readonly #leaving = new Map<SequenceLife, Leaving>();
    readonly #waking = new Map<SequenceLife, Promise<unknown>>();
    /** Milliseconds: a store that failed, or is full, is left alone until then. */
    #restUntil = 0;
    #warned = false;

    /** @param seconds without an evaluation until a sequence is parked */
    constructor(context: AddonContext, seconds: number, hooks: ParkingHooks) {
        this.#context = context;
        this.#hooks = hooks;
        this.#leftovers = new Leftovers(hooks.turns);
        collected.register(this, {leftovers: this.#leftovers, parked: this.#parked}, this);
        const held = new WeakRef(this), timer = setInterval(() => {
            const parking = held.deref();  // a timer of its own would keep the context
            if (parking === undefined) clearInterval(timer);
            else void parking.#tick(seconds);
        }, Math.min(Math.max(1000 * seconds / 2, 50), 60_000)).unref();
        this.#timer = timer;
    }

    has(life: SequenceLife): boolean {
        return this.#parked.has(life);
    }

    isWaking(life: SequenceLife): boolean {
        return this.#waking.has(life);
    }

    /** While `work` brings a sequence back, what it holds is not yet what it stands for. */
    async waking<T>(life: SequenceLife, work: () => Promise<T>): Promise<T> {
        const waking = work();
        this.#waking.set(life, waking);
        try {
            return await waking;
        } finally {
            if (this.#waking.get(life) === waking) this.#waking.delete(life);
        }
    }

    /** Waits until it is. */
    async awake(life: SequenceLife): Promise<void> {
        await this.#waking.get(life)?.catch(() => undefined);
    }

    async #tick(seconds: number): Promise<void> {
        void this.#leftovers.remove();
        for (const life of this.#hooks.pressure.idleFor(seconds)) await this.park(life, (work) => life.between(work), false);
    }

    /**
     * Gives what a sequence holds to the store. False if it has too little or the store fails: then it stays.
     * @param between runs its argument between two batches
     * @param urgent somebody waits for the memory
     */
    async park(life: SequenceLife, between: <R>(work: () => Promise<R>) => Promise<R>, urgent: boolean): Promise<boolean> {
        const {native, pressure, sharing} = this.#hooks, {sequence} = life;
        if (sequence === undefined || !life.isOpen || this.has(life) || sequence.nextTokenIndex < fewestTokens) return false;
        const used = pressure.lastUse(life), before = this.#leaving.get(life);
        if (used === undefined || performance.now() < this.#restUntil || (before !== undefined && !urgent)) return false;
        this.changing(life);  // a patient attempt gives way, as it holds the pages; what it has stored is not stored again
        const leaving: Leaving = {changed: false, stored: before?.stored ?? new Set()};
        this.#leaving.set(life, leaving);
        let parked = false, begun = false;
        const name = parkedName();
        try {
            const turns = await this.#hooks.turns();
            await this.#hooks.origin.known();  // once, files are hashed: not while the context is held
            const captured = await between(async () => leaving.changed ? undefined : leaving.captured = await captureLocked(life));
            if (captured === undefined) return false;
            try {
                begun = true;  // from here on there may be a record
                if (!await turns.park(name, captured, urgent, leaving.stored)) {
                    this.#failed(new DeltaStoreError("STORE_FAILED", `the store's budget (policy: turns.budget) has no room for the ${captured.tokens.length} tokens of a sequence`));
                    return false;
                }
            } finally {
                captured.end();
            }
            parked = await between(() => {
                if (!life.isOpen || leaving.changed || pressure.lastUse(life) !== used) return Promise.resolve(false);
                this.#keepOnly(sequence, captured.tokens.length);  // without token predictions that were not used
                sequenceInternals(sequence)._loadedTokenPredictions = [];
                sharing?.truncated(life.sequenceId, 0);
                native.clearSequence(this.#context, life.sequenceId);  // not as one that is emptied, which would begin anew with its first tier
                pressure.emptied(life);
                this.#parked.set(life, name);
                this.#hooks.emit({type: "park", sequenceId: life.sequenceId, tokens: captured.tokens.length});
                return Promise.resolve(true);
            });
        } catch (error) {
            this.#failed(error);
        } finally {
            if (this.#leaving.get(life) === leaving) this.#leaving.delete(life);
            if (begun && !parked) void this.#leftovers.remove(name);
            // The last one to end does it: an attempt that gave way may still be storing.
            if (!this.#leaving.has(life) && (!parked || before !== undefined)) void this.#leftovers.sweep(leaving.stored);
        }
        return parked;
    }

    /** Sequences stay in memory; a store that does not answer must not be asked after each batch. */
    #failed(error: unknown): void {
        if (!(error instanceof DeltaStoreError) || ofOthers.includes(error.code)) return;
        if (!this.#warned) process.emitWarning(`llama-deltastore can't park sequences: ${error.message}`, {code: `DELTASTORE_${error.code}`});
        this.#warned = true;
        this.#restUntil = performance.now() + restAfterFailure;
    }

    /** Something is about to change what a sequence holds: what is being stored of it is no longer that, and goes no further. */
    changing(life: SequenceLife): void {
        const leaving = this.#leaving.get(life);
        if (leaving === undefined) return;
        leaving.changed = true;
        leaving.captured?.end();
    }

    /**
     * Reads a parked sequence's rows, beside the batches. Null if the store has lost them, or it is not parked.
     * @throws DeltaStoreError STORE_FAILED: they may still be there
     */
    async load(life: SequenceLife): Promise<StoredRows | null> {
        const name = this.#parked.get(life);
        if (name === undefined) return null;
        return await this.#hooks.turns().then((turns) => turns.parked(name)).catch(unlessLost(null));
    }

    /**
     * Between two batches: brings a sequence's rows back. How many of its tokens it holds then; the others have to be evaluated again.
     * @param rows what `load` gave
     * @throws DeltaStoreError POOL_LIMIT_REACHED or OUT_OF_MEMORY: it stays parked
     */
    async #unpark(life: SequenceLife, sequence: LlamaContextSequence, rows: StoredRows | null): Promise<number> {
        const {sequenceId} = life, internals = sequenceInternals(sequence), tokens = internals._contextTokens, next = internals._nextTokenIndex;
        let held = rows === null ? 0 : await bringBackLocked(life, rows, this.#hooks.tier(sequenceId), "The parked sequence can't come back").catch(unlessLost(0));
        // Tokens may have been erased by what was under way when the sequence was parked.
        const common = rows === null ? 0 : commonLength(rows.tokens, tokens);
        if (held > common) {
            held = common;
            this.#context.removeTokenCellsFromSequence(sequenceId, common, -1);
        }
        internals._contextTokens = tokens;
        internals._nextTokenIndex = next;
        this.forget(life);
        this.#hooks.emit({type: "unpark", sequenceId, tokens: held});
        return held;
    }

    /**
     * The same for what can't evaluate again.
     * @throws DeltaStoreError TURN_DAMAGED: the sequence holds what came back
     */
    async comeBack(life: SequenceLife, loaded?: StoredRows): Promise<void> {
        const lost = await this.comeBackInPart(life, loaded);
        if (lost.length === 0) return;
        throw new DeltaStoreError("TURN_DAMAGED", `The newest ${lost.length} tokens of a parked sequence did not come back from the store; evaluate them again`);
    }

    /**
     * The same, if the store has all of its rows; else it stays parked, and false is given.
     * @throws DeltaStoreError as `comeBack`
     */
    async comeBackWhole(life: SequenceLife): Promise<boolean> {
        if (!this.has(life)) return true;
        const rows = await this.load(life);
        if (rows === null || rows.parts.tail === null) return false;
        await this.comeBack(life, rows);
        return true;
    }

    /** The same, but gives the tokens that did not come back. */
    async comeBackInPart(life: SequenceLife, loaded?: StoredRows | null): Promise<Token[]> {
        this.changing(life);
        const sequence = this.has(life) ? life.sequence : undefined;
        if (sequence === undefined) return [];
        return this.#keepOnly(sequence, await this.#unpark(life, sequence, loaded === undefined ? await this.load(life) : loaded));
    }

    /** The sequence's tokens are the first `held`; gives the others. */
    #keepOnly(sequence: LlamaContextSequence, held: number): Token[] {
        const internals = sequenceInternals(sequence), lost = internals._contextTokens.slice(held) as Token[];
        internals._contextTokens = internals._contextTokens.slice(0, held);
        internals._nextTokenIndex = internals._contextTokens.length;
        return lost;
    }

    /** The sequence is emptied, or gets other rows. */
    forget(life: SequenceLife): void {
        this.changing(life);
        const name = this.#parked.get(life);
        if (name === undefined) return;
        this.#parked.delete(life);
        void this.#leftovers.remove(name);
    }

    /** The context is disposed. */
    dispose(): void {
        clearInterval(this.#timer);
        collected.unregister(this);
        for (const life of this.#leaving.keys()) this.changing(life);
        for (const life of [...this.#parked.keys()]) this.forget(life);
    }
}
