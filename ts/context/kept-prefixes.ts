import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Sharing} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import type {SequenceTiers} from "./sequence-tiers.js";

/** Sequences that hold kept prefixes. They come besides the context's own. */
export const keptPrefixSlots = 16;

/** The same for models of which a kept prefix has a state beside its rows. Each prompt leaves several then. */
export const keptStateSlots = 64;

/** A shorter prefix is evaluated as fast as it is attached. Tokens. */
export const shortestPrefix = 64;

/** A prompt leaves states that take this share of their limit at most, so that those of other prompts stay. */
const shareOfStates = 1 / 4;

/** Prefixes that outlive their sequences, under the numbers behind the context's own. Methods run under node-llama-cpp's context lock. */
export class KeptPrefixes {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #first: number;
    readonly #slots: number;
    readonly #budget: number;
    readonly #stateBudget: number;
    readonly #tiers: SequenceTiers;
    readonly #emit: (event: CacheEvent) => void;
    /** The tokens by number, the one used last at the end. */
    readonly #held = new Map<number, readonly number[]>();
    /** Bytes of the largest state so far. */
    #stateBytes = 0;

    /** @param first the number of the first; @param withStates whether each has a state beside its rows */
    constructor(context: AddonContext, native: NativeBinding, {keptBytes, stateBytes}: Sharing, first: number, withStates: boolean, tiers: SequenceTiers,
                emit: (event: CacheEvent) => void) {
        this.#context = context;
        this.#native = native;
        this.#first = first;
        this.#slots = withStates ? keptStateSlots : keptPrefixSlots;
        this.#budget = withStates && stateBytes === 0 ? 0 : keptBytes;
        this.#stateBudget = withStates ? stateBytes : Infinity;
        this.#tiers = tiers;
        this.#emit = emit;
    }

    get count(): number {
        return this.#held.size;
    }

    /** Whether any may be kept. */
    get allowed(): boolean {
        return this.#budget > 0;
    }

    /** Their numbers and tokens. */
    entries(): IterableIterator<[number, readonly number[]]> {
        return this.#held.entries();
    }

    /** How many states a prompt may leave, as far as their size is known. */
    get mostStates(): number {
        const fits = this.#stateBudget / Math.max(1, this.#stateBytes);
        return this.allowed && fits >= 1 ? Math.max(1, Math.floor(shareOfStates * fits)) : 0;
    }

    /** Keeps the first tokens of a sequence. Gives the prefix's number; undefined if it can't be kept. */
    keep(sequence: number, tokens: readonly number[]): number | undefined {
        if (!this.allowed || tokens.length < shortestPrefix) return undefined;
        const stateBytes = this.#native.stateBytes(this.#context, sequence);
        this.#stateBytes = Math.max(this.#stateBytes, stateBytes);
        if (stateBytes > this.#stateBudget) return undefined;
        // A state is that of a sequence's end. What can't be kept must not drop another one.
        if (this.#stateBudget < Infinity && this.#context.getSequenceKvCacheMaxPosition(sequence) + 1 !== tokens.length) return undefined;
        if (this.#held.size === this.#slots) this.#dropOldest("newer");
        let slot = this.#first;
        while (this.#held.has(slot)) slot++;
        this.#tiers.keep(slot, sequence);
        if (this.#native.forkPrefix(this.#context, sequence, slot, tokens.length) !== null) return undefined;
        this.#held.set(slot, [...tokens]);
        this.#emit({type: "keep", tokens: tokens.length});
        this.trim();
        return slot;
    }

    /** It was used just now. */
    touch(number: number): void {
        const held = this.#held.get(number);
        if (held === undefined) return;
        this.#held.delete(number);
        this.#held.set(number, held);
    }

    /** Pages that they shared with rows that went count for them alone, so the budget is checked. */
    trim(): void {
        const isOver = () => {
            const {rows, states} = this.#native.keptBytes(this.#context);
            return rows > this.#budget || states > this.#stateBudget;
        };
        while (this.#held.size > 0 && isOver()) this.#dropOldest("budget");
    }

    /** Drops the one that was not used for longest; false if there is none. */
    dropOldest(): boolean {
        return this.#dropOldest("limit");
    }

    /** The adapter changes. */
    forgetAll(): void {
        while (this.#dropOldest("adapter"));
    }

    #dropOldest(reason: (CacheEvent & {type: "drop"})["reason"]): boolean {
        for (const [slot, {length}] of this.#held) {
            this.#native.clearSequence(this.#context, slot);
            this.#held.delete(slot);
            this.#emit({type: "drop", tokens: length, reason});
            return true;
        }
        return false;
    }
}
