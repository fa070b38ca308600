import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import type {CacheEvent} from "../events.js";
import type {NativeBinding, SnapshotParts} from "../native.js";
import type {PoolPressure} from "../pool-pressure.js";
import type {PrefixSharing} from "../prefix-sharing.js";
import {sequenceInternals, type AddonContext} from "../runtime-internals.js";
import {parkedName} from "./parked-name.js";
import {bringBackLocked, captureLocked, type Captured} from "./rows.js";
import type {Turns} from "./turns.js";

/** Fewer are evaluated as fast as they come back. */
const fewestTokens = 64;

export interface ParkedRows {
    readonly parts: SnapshotParts;
    readonly captured: Captured;
}

type Loaded = ParkedRows & {readonly name: string};

export interface ParkingHooks {
    turns(): Promise<Turns>;
    /** Runs its argument between two batches. */
    between<R>(work: () => Promise<R>): Promise<R>;
    sequence(sequenceId: number): LlamaContextSequence | undefined;
    readonly native: NativeBinding;
    readonly pressure: PoolPressure;
    readonly sharing: PrefixSharing | null;
    emit(event: CacheEvent): void;
}

/** Sequences of one context whose rows are in the store of turns, until they are evaluated again. */
export class Parking {
    readonly #context: AddonContext;
    readonly #hooks: ParkingHooks;
    readonly #timer: NodeJS.Timeout;
    /** By sequence: the name that the store has for it. */
    readonly #parked = new Map<number, string>();
    readonly #leaving = new Set<number>();

    /** @param seconds without an evaluation until a sequence is parked */
    constructor(context: AddonContext, seconds: number, hooks: ParkingHooks) {
        this.#context = context;
        this.#hooks = hooks;
        const period = Math.min(Math.max(1000 * seconds / 2, 50), 60_000);
        this.#timer = setInterval(() => void this.#parkIdle(seconds).catch(() => undefined), period).unref();
    }

    has(sequenceId: number): boolean {
        return this.#parked.has(sequenceId);
    }

    /** How many there are. */
    get count(): number {
        return this.#parked.size;
    }

    async #parkIdle(seconds: number): Promise<void> {
        for (const sequenceId of this.#hooks.pressure.idleFor(seconds)) await this.park(sequenceId, this.#hooks.between, false);
    }

    /**
     * Gives what a sequence holds to the store. False if it has too little or the store fails: then it stays.
     * @param between runs its argument between two batches
     * @param urgent somebody waits for the memory
     */
    async park(sequenceId: number, between: <R>(work: () => Promise<R>) => Promise<R>, urgent: boolean): Promise<boolean> {
        const {native, pressure, sharing} = this.#hooks, sequence = this.#hooks.sequence(sequenceId);
        if (sequence === undefined || sequence.disposed || this.has(sequenceId) || this.#leaving.has(sequenceId) || sequence.nextTokenIndex < fewestTokens) return false;
        const used = pressure.lastUse(sequenceId);
        if (used === undefined) return false;
        this.#leaving.add(sequenceId);
        try {
            const turns = await this.#hooks.turns(), name = parkedName();
            const captured = await between(() => captureLocked(sequence));
            try {
                await turns.park(name, captured, urgent);
            } finally {
                captured.end();
            }
            return await between(async () => {
                if (sequence.disposed || pressure.lastUse(sequenceId) !== used) {
                    await turns.delete(name);
                    return false;
                }
                sharing?.truncated(sequenceId, 0);
                native.clearSequence(this.#context, sequenceId);  // not as one that is emptied, which would begin anew with its first tier
                pressure.emptied(sequenceId);
                this.#parked.set(sequenceId, name);
                this.#hooks.emit({type: "park", sequenceId, tokens: captured.tokens.length});
                return true;
            });
        } catch {
            return false;
        } finally {
            this.#leaving.delete(sequenceId);
        }
    }

    /** Reads a parked sequence's rows, beside the batches. Null if the store has lost them, or it is not parked. */
    async load(sequenceId: number): Promise<Loaded | null> {
        const name = this.#parked.get(sequenceId);
        if (name === undefined) return null;
        return await this.#hooks.turns().then(async (turns) => ({name, ...await turns.parked(name)})).catch(() => null);
    }

    /**
     * Between two batches: brings a sequence's rows back. How many of its tokens it holds then; the others have to be evaluated again.
     * @param loaded what `load` gave
     * @throws DeltaStoreError POOL_LIMIT_REACHED or OUT_OF_MEMORY: it stays parked
     */
    async unpark(sequenceId: number, loaded: Loaded | null): Promise<number> {
        const name = this.#parked.get(sequenceId), sequence = this.#hooks.sequence(sequenceId);
        if (name === undefined || sequence === undefined) return 0;
        const internals = sequenceInternals(sequence), tokens = internals._contextTokens, next = internals._nextTokenIndex;
        let held = 0;
        try {
            const rows = loaded?.name === name ? loaded : await this.load(sequenceId);  // it may have been here meanwhile
            if (rows !== null) held = await bringBackLocked(sequence, rows.parts, rows.captured);
        } catch (error) {
            if (["POOL_LIMIT_REACHED", "OUT_OF_MEMORY"].includes((error as {code?: string}).code ?? "")) throw error;
        }
        internals._contextTokens = tokens;
        internals._nextTokenIndex = next;
        this.forget(sequenceId);
        this.#hooks.emit({type: "unpark", sequenceId, tokens: held});
        return held;
    }

    /**
     * The same for what can't evaluate again.
     * @throws DeltaStoreError TURN_DAMAGED: the sequence holds what came back
     */
    async comeBack(sequenceId: number): Promise<void> {
        const lost = await this.comeBackInPart(sequenceId);
        if (lost.length === 0) return;
        throw new DeltaStoreError("TURN_DAMAGED", `The newest ${lost.length} tokens of a parked sequence did not come back from the store; evaluate them again`);
    }

    /** The same, but gives the tokens that did not come back. */
    async comeBackInPart(sequenceId: number, loaded: Loaded | null = null): Promise<Token[]> {
        const sequence = this.has(sequenceId) ? this.#hooks.sequence(sequenceId) : undefined;
        if (sequence === undefined) return [];
        return this.#keepOnly(sequence, await this.unpark(sequenceId, loaded));
    }

    /** The sequence's tokens are the first `held`; gives the others. */
    #keepOnly(sequence: LlamaContextSequence, held: number): Token[] {
        const internals = sequenceInternals(sequence), lost = internals._contextTokens.slice(held) as Token[];
        internals._contextTokens = internals._contextTokens.slice(0, held);
        internals._nextTokenIndex = internals._contextTokens.length;
        return lost;
    }

    /** The sequence is emptied, or gets other rows. */
    forget(sequenceId: number): void {
        const name = this.#parked.get(sequenceId);
        if (name === undefined) return;
        this.#parked.delete(sequenceId);
        void this.#hooks.turns().then((turns) => turns.delete(name)).catch(() => undefined);
    }

    /** The context is disposed. */
    dispose(): void {
        clearInterval(this.#timer);
        for (const sequenceId of [...this.#parked.keys()]) this.forget(sequenceId);
    }
}
