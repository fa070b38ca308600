import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Sharing} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import {partOf, type DecodeRequest} from "../runtime/decode-request.js";
import type {SequenceLife} from "./sequence-life.js";
import type {SequenceTiers} from "./sequence-tiers.js";

/** Sequences that hold kept prefixes. They come besides the context's own. */
export const keptPrefixSlots = 16;

/** A shorter prefix is evaluated as fast as it is attached. Tokens. */
const shortestPrefix = 64;

export interface SharingStats {
    /** Prefixes that were attached instead of evaluated. */
    attached: number;
    /** Their tokens. */
    attachedTokens: number;
    /** Prefixes that are kept for sequences to come. */
    keptPrefixes: number;
    /** Their part of residentBytes. A page that sequences hold too counts in parts. */
    keptBytes: number;
}

/** What attaching leaves of a request. */
interface Attached {
    /** Tokens of the request that are attached. */
    taken: number;
    /** Tokens of the request where a prefix ends that others may start with; 0 for none. */
    fork: number;
}

/** A request under way, and the requests that wait until so many tokens of its sequence are evaluated. */
interface Pending {
    sequence: number;
    tokens: readonly number[];
    waiting: Set<{length: number; resolve: () => void}>;
}

/**
 * Attaches prefixes that another sequence of the context holds, and keeps prefixes whose sequences have ended. For that it knows which
 * tokens' rows each sequence holds. Methods that change rows run under node-llama-cpp's context lock.
 */
export class PrefixSharing {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #firstSlot: number;
    readonly #budget: number;
    readonly #scope: Sharing["scope"];
    readonly #tiers: SequenceTiers;
    readonly #emit: (event: CacheEvent) => void;
    /** The group of each sequence that has one. A kept prefix has the group of the sequence that evaluated it. */
    readonly #groups = new Map<number, string>();
    /** The tokens from position 0 on, by sequence. Kept prefixes are among them, the one used last at the end. */
    readonly #held = new Map<number, number[]>();
    readonly #pending = new Set<Pending>();
    #attached = 0;
    #attachedTokens = 0;

    /** @param sequences of the context; kept prefixes have the numbers after them */
    constructor(context: AddonContext, native: NativeBinding, {keptBytes, scope}: Sharing, sequences: number, tiers: SequenceTiers,
                emit: (event: CacheEvent) => void) {
        this.#context = context;
        this.#native = native;
        this.#firstSlot = sequences;
        this.#budget = keptBytes;
        this.#scope = scope;
        this.#tiers = tiers;
        this.#emit = emit;
    }

    get stats(): Omit<SharingStats, "keptBytes"> {
        return {attached: this.#attached, attachedTokens: this.#attachedTokens, keptPrefixes: this.#slots().length};
    }

    /** From now on the sequence shares with this group only; undefined for none. */
    setGroup(sequence: number, group: string | undefined): void {
        if (group === undefined) this.#groups.delete(sequence);
        else this.#groups.set(sequence, group);
    }

    #mayShare(sequence: number, other: number): boolean {
        const group = this.#groups.get(sequence);
        return other !== sequence && group === this.#groups.get(other) && (group !== undefined || this.#scope === "context") &&
            this.#tiers.of(sequence) === this.#tiers.of(other);
    }

    /** Rows were added to a sequence. Nobody can use rows behind a gap, or behind rows that were moved. */
    appended(sequence: number, first: number, tokens: Iterable<number>): void {
        const held = this.#held.get(sequence) ?? [];
        if (held.length > first) held.length = first;
        if (held.length < first) return;
        for (const token of tokens) held.push(token);
        this.#held.set(sequence, held);
        for (const {sequence: pending, waiting} of this.#pending)
            if (pending === sequence)
                for (const {length, resolve} of waiting) if (length <= held.length) resolve();
    }

    /** Whether others may take over all tokens of a sequence of this length. */
    holds(sequence: number, length: number): boolean {
        return (this.#held.get(sequence)?.length ?? 0) >= length;
    }

    /** Only the sequence's rows before `length` are still where they were. */
    truncated(sequence: number, length: number): void {
        const held = this.#held.get(sequence);
        if (held === undefined) return;
        if (length <= 0) this.#held.delete(sequence);
        else if (length < held.length) held.length = length;
    }

    /** The target has the source's rows. Others may use them if they are of the target's tier. */
    copied(source: number, target: number, length = Infinity): void {
        const held = this.#held.get(source);
        if (held === undefined || this.#tiers.of(source) !== this.#tiers.of(target)) this.#held.delete(target);
        else this.#held.set(target, held.slice(0, length));
    }

    /** The adapter changes: rows to come do not go with those that are there. */
    forgetAll(): void {
        for (const slot of this.#slots()) this.#drop(slot, "adapter");
        this.#held.clear();
    }

    /** A sequence's rows are about to go. They are kept if no other sequence holds them. */
    ending(sequence: number): void {
        const held = this.#held.get(sequence);
        const isHeld = ([other, tokens]: [number, number[]]) => this.#mayShare(sequence, other) && commonLength(tokens, held!) === held!.length;
        if (held !== undefined && ![...this.#held].some(isHeld)) this.#keep(sequence, held.length);
        this.#held.delete(sequence);
    }

    /** Rows went. Pages that kept prefixes shared with them now count for the kept prefixes alone, so the budget is checked. */
    trim(): void {
        while (this.#slots().length > 0 && this.#native.stats(this.#context).keptBytes > this.#budget && this.dropOldest("budget"));
    }

    /** Drops the kept prefix that was not used for longest; false if there is none. */
    dropOldest(reason: "budget" | "limit" = "limit"): boolean {
        const [oldest] = this.#slots();
        if (oldest === undefined) return false;
        this.#drop(oldest, reason);
        return true;
    }

    /**
     * Evaluates a request. A prefix that can be attached is not evaluated.
     * @param life whose request it is
     * @param evaluate evaluates a part of the request; must throw once the life is closed
     * @throws DeltaStoreError DISPOSED: the sequence was disposed while it waited
     * @returns the results of all parts
     */
    async evaluate<T>(life: SequenceLife, request: DecodeRequest, evaluate: (part: DecodeRequest) => Promise<T[]>): Promise<T[]> {
        const before = [...this.#pending], {sequenceId} = life;
        const own = this.#held.get(sequenceId) ?? [], tokens = [...own, ...request.tokens];
        const pending: Pending = {sequence: sequenceId, tokens, waiting: new Set()};
        this.#pending.add(pending);
        try {
            // A prefix that another request is just evaluating is worth waiting for. Requests wait only for earlier ones, so there is no deadlock.
            for (const other of before) {
                if (!this.#mayShare(sequenceId, other.sequence)) continue;
                const length = commonLength(other.tokens, tokens), gain = length - own.length;
                if (gain >= shortestPrefix && 2 * gain > request.tokens.length && this.#pending.has(other) &&
                    (this.#held.get(other.sequence)?.length ?? 0) < length)
                    await Promise.race([life.closing, new Promise<void>((resolve) => other.waiting.add({length, resolve}))]);
            }
            const {taken, fork} = await life.between(() => Promise.resolve(this.#attach(request)));
            const results: T[] = [];
            if (fork > taken) results.push(...await evaluate(partOf(request, taken, fork)));
            if (fork > 0) await life.between(() => this.#offer(sequenceId, request.firstTokenSequenceIndex + fork));
            results.push(...await evaluate(partOf(request, Math.max(taken, fork), request.tokens.length)));
            return results;
        } finally {
            this.#pending.delete(pending);
            for (const {resolve} of pending.waiting) resolve();
        }
    }

    /** Whether the request is long enough that `evaluate` may save work. */
    worthwhile(request: DecodeRequest): boolean {
        return request.tokens.length > shortestPrefix && mostAttachable(request) >= shortestPrefix;
    }

    #attach(request: DecodeRequest): Attached {
        const {sequenceId, firstTokenSequenceIndex: first, tokens} = request;
        const own = this.#held.get(sequenceId) ?? [];
        if (own.length !== first) return {taken: 0, fork: 0};
        const all = [...own, ...tokens], most = first + mostAttachable(request);
        let longest = first, end = first, source = -1;
        for (const [other, held] of this.#held) {
            const common = this.#mayShare(sequenceId, other) ? Math.min(commonLength(held, all), most) : 0;
            if (common <= end) continue;
            const usable = Math.min(common, this.#native.prefixEnd(this.#context, other, common));
            if (usable > end) [end, source] = [usable, other];
            longest = Math.max(longest, common);
        }
        // A third text may part where these two do. It then finds a prefix that ends there, with its window as it was.
        const fork = longest >= end + shortestPrefix && this.#budget > 0 ? longest - first : 0;
        if (end < first + shortestPrefix || this.#native.forkPrefix(this.#context, source, sequenceId, end) !== null) return {taken: 0, fork};
        this.#held.set(sequenceId, all.slice(0, end));
        if (source >= this.#firstSlot) this.#touch(source);
        this.#attached++;
        this.#attachedTokens += end - first;
        this.#emit({type: "attach", sequenceId, tokens: end - first});
        return {taken: end - first, fork};
    }

    /** Keeps a sequence's tokens, of which the last was evaluated just now, for others to start with. */
    async #offer(sequence: number, length: number): Promise<void> {
        const held = this.#held.get(sequence);
        if (held?.length !== length) return;
        await this.#tiers.evictIfDue(sequence);
        const endsHere = ([other, tokens]: [number, number[]]) => this.#mayShare(sequence, other) && tokens.length === length && commonLength(tokens, held) === length;
        if (![...this.#held].some(endsHere)) this.#keep(sequence, length);
    }

    #keep(sequence: number, length: number): void {
        const held = this.#held.get(sequence)!;
        const group = this.#groups.get(sequence);
        if (this.#budget === 0 || length < shortestPrefix || (group === undefined && this.#scope === "group")) return;
        const slots = this.#slots();
        if (slots.length === keptPrefixSlots) this.#drop(slots.shift()!, "newer");
        let slot = this.#firstSlot;
        while (this.#held.has(slot)) slot++;
        this.#tiers.keep(slot, sequence);
        if (this.#native.forkPrefix(this.#context, sequence, slot, length) !== null) return;
        this.#held.set(slot, held.slice(0, length));
        this.setGroup(slot, group);
        this.#emit({type: "keep", tokens: length});
        this.trim();
    }

    #drop(slot: number, reason: (CacheEvent & {type: "drop"})["reason"]): void {
        const tokens = this.#held.get(slot)!.length;
        this.#native.clearSequence(this.#context, slot);
        this.#held.delete(slot);
        this.#emit({type: "drop", tokens, reason});
    }

    #touch(slot: number): void {
        const held = this.#held.get(slot)!;
        this.#held.delete(slot);
        this.#held.set(slot, held);
    }

    #slots(): number[] {
        return [...this.#held.keys()].filter((sequence) => sequence >= this.#firstSlot);
    }
}

/** Most tokens of a request that can be attached: those before the first whose logits are wanted, and not the last one, as something has to be evaluated. */
function mostAttachable({tokens, logits}: DecodeRequest): number {
    const wanted = logits.findIndex((wanted) => wanted);
    return Math.min(wanted < 0 ? tokens.length : wanted, tokens.length - 1);
}

export function commonLength(a: ArrayLike<number>, b: ArrayLike<number>): number {
    const most = Math.min(a.length, b.length);
    let length = 0;
    while (length < most && a[length] === b[length]) length++;
    return length;
}
