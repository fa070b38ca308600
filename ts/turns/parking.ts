import type {LlamaContextSequence, Token} from "node-llama-cpp";
import type {ParkingParts} from "../context/owner.js";
import type {Parking} from "../context/parking.js";
import {commonLength} from "../context/common-length.js";
import type {SequenceLife} from "../context/sequence-life.js";
import {DeltaStoreError} from "../errors.js";
import type {AddonContext} from "../runtime/addon.js";
import {forgetCheckpoints, forgetPredictions, heldTokensOf, setHeldTokens} from "../runtime/sequences.js";
import {unlessLost} from "./archive.js";
import {Leftovers} from "./leftovers.js";
import {parkedName} from "./parked-name.js";
import {bringBackLocked, captureLocked, type Capture, type StoredRows} from "./rows.js";
import type {Turns} from "./turns.js";

/** A store that failed is left alone for so long. Milliseconds. */
const restAfterFailure = 10_000;

/** Fewer tokens are evaluated as fast as they come back. */
const fewestTokens = 64;

/** Codes of errors that say nothing of the store. */
const ofOthers: readonly unknown[] = ["DISPOSED", "POOL_LIMIT_REACHED", "OUT_OF_MEMORY"];

/** A context may be collected as garbage without having been disposed. Then its parked rows go. */
const collected = new FinalizationRegistry(({leftovers, parked}: {leftovers: Leftovers; parked: ReadonlyMap<SequenceLife, string>}) => void leftovers.remove(...parked.values()));

/** An attempt to park a sequence. */
interface Leaving {
    /** Something changed the sequence: the attempt is in vain. */
    changed: boolean;
    captured?: Capture;
    /** The objects that the attempt stored. At its end those go that nobody holds. */
    readonly stored: Set<string>;
}

/** Parks sequences of one context in the store of turns. */
export class TurnsParking implements Parking {
    readonly #context: AddonContext;
    readonly #turns: () => Promise<Turns>;
    readonly #parts: ParkingParts;
    readonly #timer: NodeJS.Timeout;
    readonly #leftovers: Leftovers;
    /** The parked sequences, and their names in the store. */
    readonly #parked = new Map<SequenceLife, string>();
    /** Sequences that are being stored. */
    readonly #leaving = new Map<SequenceLife, Leaving>();
    readonly #waking = new Map<SequenceLife, Promise<unknown>>();
    /** A store that failed, or is full, is left alone until then. Milliseconds. */
    #restUntil = 0;
    #warned = false;

    /**
     * @param seconds without an evaluation until a sequence is parked
     * @param turns opens the store; must not hold the context
     */
    constructor(context: AddonContext, seconds: number, turns: () => Promise<Turns>, parts: ParkingParts) {
        this.#context = context;
        this.#turns = turns;
        this.#parts = parts;
        this.#leftovers = new Leftovers(turns);
        collected.register(this, {leftovers: this.#leftovers, parked: this.#parked}, this);
        const held = new WeakRef(this), timer = setInterval(() => {
            const parking = held.deref();  // weak: the timer must not keep the context
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

    async waking<T>(life: SequenceLife, work: () => Promise<T>): Promise<T> {
        const waking = work();
        this.#waking.set(life, waking);
        try {
            return await waking;
        } finally {
            if (this.#waking.get(life) === waking) this.#waking.delete(life);
        }
    }

    async awake(life: SequenceLife): Promise<void> {
        await this.#waking.get(life)?.catch(() => undefined);
    }

    async #tick(seconds: number): Promise<void> {
        void this.#leftovers.remove();
        for (const life of this.#parts.pressure.idleFor(seconds)) await this.park(life, (work) => life.between(work), false);
    }

    async park(life: SequenceLife, between: <R>(work: () => Promise<R>) => Promise<R>, urgent: boolean): Promise<boolean> {
        const {native, pressure, sharing} = this.#parts, {sequence} = life;
        if (sequence === undefined || !life.isOpen || this.has(life) || sequence.nextTokenIndex < fewestTokens) return false;
        const used = pressure.lastUse(life), before = this.#leaving.get(life);
        if (used === undefined || performance.now() < this.#restUntil || (before !== undefined && !urgent)) return false;
        this.changing(life);  // a patient attempt holds the pages, so it gives way; what it has stored is not stored again
        const leaving: Leaving = {changed: false, stored: before?.stored ?? new Set()};
        this.#leaving.set(life, leaving);
        let parked = false, begun = false;
        const name = parkedName();
        try {
            const turns = await this.#turns();
            await this.#parts.origin.known();  // the first time it hashes files: not while the context is held
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
                forgetPredictions(sequence);
                forgetCheckpoints(sequence);  // they are in memory
                sharing?.truncated(life.sequenceId, 0);
                native.clearSequence(this.#context, life.sequenceId);  // not emptied: it would begin anew with its first tier
                pressure.emptied(life);
                this.#parked.set(life, name);
                this.#parts.emit({type: "park", sequenceId: life.sequenceId, tokens: captured.tokens.length});
                return Promise.resolve(true);
            });
        } catch (error) {
            this.#failed(error);
        } finally {
            if (this.#leaving.get(life) === leaving) this.#leaving.delete(life);
            if (begun && !parked) void this.#leftovers.remove(name);
            // The last attempt to end sweeps: one that gave way may still be storing.
            if (!this.#leaving.has(life) && (!parked || before !== undefined)) void this.#leftovers.sweep(leaving.stored);
        }
        return parked;
    }

    /** Sequences stay in memory. A store that does not answer must not be asked after each batch. */
    #failed(error: unknown): void {
        if (!(error instanceof DeltaStoreError) || ofOthers.includes(error.code)) return;
        if (!this.#warned) process.emitWarning(`llama-deltastore can't park sequences: ${error.message}`, {code: `DELTASTORE_${error.code}`});
        this.#warned = true;
        this.#restUntil = performance.now() + restAfterFailure;
    }

    changing(life: SequenceLife): void {
        const leaving = this.#leaving.get(life);
        if (leaving === undefined) return;
        leaving.changed = true;
        leaving.captured?.end();
    }

    async load(life: SequenceLife): Promise<() => Promise<Token[]>> {
        const rows = await this.#read(life).catch(() => null);
        return () => this.#comeBackWith(life, rows);
    }

    /**
     * A parked sequence's rows; null if the store has lost them, or the sequence is not parked.
     * @throws DeltaStoreError STORE_FAILED: they may still be there
     */
    async #read(life: SequenceLife): Promise<StoredRows | null> {
        const name = this.#parked.get(life);
        if (name === undefined) return null;
        return await this.#turns().then((turns) => turns.parked(name)).catch(unlessLost(null));
    }

    /**
     * Brings a sequence's rows back. Gives the number of tokens that it holds then.
     * @throws DeltaStoreError POOL_LIMIT_REACHED or OUT_OF_MEMORY: it stays parked
     */
    async #unpark(life: SequenceLife, sequence: LlamaContextSequence, rows: StoredRows | null): Promise<number> {
        const {sequenceId} = life, tokens = heldTokensOf(sequence);
        let held = rows === null ? 0 : await bringBackLocked(life, rows, this.#parts.tiers.of(sequenceId), "The parked sequence can't come back").catch(unlessLost(0));
        // Work that was under way when the sequence was parked may have erased tokens since.
        const common = rows === null ? 0 : commonLength(rows.tokens, tokens);
        if (held > common) {
            const drops = this.#context.removeTokenCellsFromSequence(sequenceId, common, -1);
            held = drops ? common : 0;
            if (!drops) {  // a recurrent state can't go back: all is evaluated again
                this.#parts.native.clearSequence(this.#context, sequenceId);
                this.#parts.sharing?.truncated(sequenceId, 0);
            }
        }
        setHeldTokens(sequence, tokens);
        this.forget(life);
        this.#parts.emit({type: "unpark", sequenceId, tokens: held});
        return held;
    }

    async comeBack(life: SequenceLife): Promise<void> {
        requireAll(await this.comeBackInPart(life));
    }

    async comeBackWhole(life: SequenceLife): Promise<boolean> {
        if (!this.has(life)) return true;
        const rows = await this.#read(life);
        if (rows === null || rows.parts.tail === null) return false;
        requireAll(await this.#comeBackWith(life, rows));
        return true;
    }

    async comeBackInPart(life: SequenceLife): Promise<Token[]> {
        this.changing(life);
        return await this.#comeBackWith(life, await this.#read(life));
    }

    /** @param rows what was read; null if the store has none */
    async #comeBackWith(life: SequenceLife, rows: StoredRows | null): Promise<Token[]> {
        this.changing(life);
        const sequence = this.has(life) ? life.sequence : undefined;
        if (sequence === undefined) return [];
        return this.#keepOnly(sequence, await this.#unpark(life, sequence, rows));
    }

    /** Leaves the sequence its first `held` tokens, and gives the others. */
    #keepOnly(sequence: LlamaContextSequence, held: number): Token[] {
        const tokens = heldTokensOf(sequence);
        setHeldTokens(sequence, tokens.slice(0, held));
        return tokens.slice(held) as Token[];
    }

    forget(life: SequenceLife): void {
        this.changing(life);
        const name = this.#parked.get(life);
        if (name === undefined) return;
        this.#parked.delete(life);
        void this.#leftovers.remove(name);
    }

    dispose(): void {
        clearInterval(this.#timer);
        collected.unregister(this);
        for (const life of this.#leaving.keys()) this.changing(life);
        for (const life of [...this.#parked.keys()]) this.forget(life);
    }
}

/** For callers that can't evaluate. @throws DeltaStoreError TURN_DAMAGED: some tokens did not come back */
function requireAll(lost: readonly Token[]): void {
    if (lost.length > 0)
        throw new DeltaStoreError("TURN_DAMAGED", `The newest ${lost.length} tokens of a parked sequence did not come back from the store; evaluate them again`);
}
