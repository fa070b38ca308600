import type {CacheEvent} from "../events.js";
import type {NativeBinding} from "../engine/native.js";
import type {Sharing} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import {partOf, type DecodeRequest} from "../runtime/decode-request.js";
import {commonLength} from "./common-length.js";
import {empty} from "./cut-back.js";
import {KeptPrefixes, shortestPrefix} from "./kept-prefixes.js";
import {PendingRequests} from "./pending-requests.js";
import type {SequenceLife} from "./sequence-life.js";
import type {SequenceTiers} from "./sequence-tiers.js";
import {statePlaces} from "./state-places.js";

export interface SharingStats {
    /** Prefixes that were attached instead of evaluated. */
    attached: number;
    /** Their tokens. */
    attachedTokens: number;
    /** Prefixes that are kept for sequences to come. */
    keptPrefixes: number;
    /** Their part of residentBytes, with tables. A page that sequences hold too counts in parts. */
    keptBytes: number;
    /** Of these, states of sliding windows and recurrent layers at the prefixes' ends. */
    stateBytes: number;
}

/** What attaching makes of a request. All count the request's tokens. */
interface Attached {
    /** Tokens that are attached. */
    taken: number;
    /** Where prefixes end that others may start with, behind those. */
    cuts: readonly number[];
    /** Tokens before the request that the sequence has lost: a state could not be read. */
    lost?: readonly number[];
}

/**
 * Attaches prefixes that another sequence of the context holds, and keeps prefixes whose sequences have ended. For that it knows which
 * tokens' rows each sequence holds. Methods that change rows run under node-llama-cpp's context lock.
 *
 * Windows and recurrent layers have a state, which is that of one position. Sequences of such models take a prefix over at the end of another sequence,
 * or where a state was kept. So an evaluation stops at some places, to keep one.
 */
export class PrefixSharing {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #kept: KeptPrefixes;
    readonly #scope: Sharing["scope"];
    /** Tokens between two states, for models that have such; else null. */
    readonly #spacing: number | null;
    readonly #tiers: SequenceTiers;
    readonly #emit: (event: CacheEvent) => void;
    /** The group of each sequence that has one. A kept prefix has the group of the sequence that evaluated it. */
    readonly #groups = new Map<number, string>();
    /** The tokens from position 0 on, by sequence. */
    readonly #held = new Map<number, number[]>();
    readonly #pending = new PendingRequests();
    #attached = 0;
    #attachedTokens = 0;

    /** @param sequences of the context; kept prefixes have the numbers after them */
    constructor(context: AddonContext, native: NativeBinding, sharing: Sharing, sequences: number, tiers: SequenceTiers, emit: (event: CacheEvent) => void) {
        const withStates = !native.onlyAttention(context);
        this.#context = context;
        this.#native = native;
        this.#kept = new KeptPrefixes(context, native, sharing, sequences, withStates, tiers, emit);
        this.#scope = sharing.scope;
        this.#spacing = withStates ? sharing.spacing : null;
        this.#tiers = tiers;
        this.#emit = emit;
    }

    get stats(): Omit<SharingStats, "keptBytes" | "stateBytes"> {
        return {attached: this.#attached, attachedTokens: this.#attachedTokens, keptPrefixes: this.#kept.count};
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
        if (this.#spacing === null) this.#pending.reached(sequence, held.length);
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
        this.#kept.forgetAll();
        this.#held.clear();
    }

    /** A sequence's rows are about to go. They are kept if no other sequence holds them. */
    ending(sequence: number): void {
        const held = this.#held.get(sequence);
        const isHeld = ([other, tokens]: [number, readonly number[]]) => this.#mayShare(sequence, other) && commonLength(tokens, held!) === held!.length;
        if (held !== undefined && !(this.#spacing === null ? this.#holders().some(isHeld) : this.#isKept(sequence, held))) this.#keep(sequence, held);
        this.#held.delete(sequence);
    }

    /** Rows went. Pages that kept prefixes shared with them now count for the kept prefixes alone, so the budget is checked. */
    trim(): void {
        this.#kept.trim();
    }

    /** Drops the kept prefix that was not used for longest; false if there is none. */
    dropOldest(): boolean {
        return this.#kept.dropOldest();
    }

    /**
     * Evaluates a request. A prefix that can be attached is not evaluated.
     * @param life whose request it is
     * @param evaluate evaluates a part of the request; must throw once the life is closed
     * @throws DeltaStoreError DISPOSED: the sequence was disposed while it waited
     * @returns the results of all parts
     */
    async evaluate<T>(life: SequenceLife, request: DecodeRequest, evaluate: (part: DecodeRequest) => Promise<T[]>): Promise<T[]> {
        const {sequenceId, firstTokenSequenceIndex: first} = request, most = first + mostAttachable(request);
        const own = this.#held.get(sequenceId) ?? [], tokens = [...own, ...request.tokens];
        // A prefix that another request is just evaluating is worth waiting for. Requests wait only for earlier ones, so there is no deadlock.
        const earlier = this.#pending.all(), pending = this.#pending.begin({sequence: sequenceId, tokens, places: this.#places(request, 0), reached: own.length});
        try {
            for (const other of earlier) {
                if (!this.#mayShare(sequenceId, other.sequence)) continue;
                const length = this.#pending.shared(other, tokens, most), gain = length - own.length;
                if (gain >= shortestPrefix && 2 * gain > request.tokens.length) await Promise.race([life.closing, this.#pending.wait(other, length)]);
            }
            const {taken, cuts, lost} = await life.between(() => this.#attach(request));
            if (lost !== undefined) await this.#evaluateLost(life, request, lost, evaluate);
            const results: T[] = [];
            let done = taken, left = cuts;
            while (left.length > 0) {
                const cut = left[0]!;
                results.push(...await evaluate(partOf(request, done, cut)));
                await life.between(() => this.#offer(sequenceId, first + cut));
                done = cut;
                left = left.slice(1).slice(this.#spacing === null ? 0 : -Math.max(1, this.#kept.mostStates));  // now a state's size is known
            }
            if (done < request.tokens.length) results.push(...await evaluate(partOf(request, done, request.tokens.length)));
            return results;
        } finally {
            this.#pending.end(pending);
        }
    }

    /** Evaluates the tokens before a request. On failure the sequence is empty. */
    async #evaluateLost<T>(life: SequenceLife, request: DecodeRequest, tokens: readonly number[], evaluate: (part: DecodeRequest) => Promise<T[]>): Promise<void> {
        try {
            await evaluate({...request, afterBatchAction: undefined, firstTokenSequenceIndex: 0, tokens: [...tokens], logits: tokens.map(() => undefined)});
        } catch (error) {
            if (life.isOpen) await life.between(() => {
                empty(this.#context, life);
                return Promise.resolve();
            });
            throw error;
        }
    }

    /** Whether the request is long enough that `evaluate` may save work. */
    worthwhile(request: DecodeRequest): boolean {
        return request.tokens.length > shortestPrefix && mostAttachable(request) >= shortestPrefix;
    }

    async #attach(request: DecodeRequest): Promise<Attached> {
        const {sequenceId, firstTokenSequenceIndex: first, tokens} = request;
        const own = this.#held.get(sequenceId) ?? [];
        if (own.length !== first) return {taken: 0, cuts: []};
        const all = [...own, ...tokens], most = first + mostAttachable(request);
        let longest = first, end = first, source = -1, whole = false;
        for (const [other, held] of this.#holders()) {
            const common = this.#mayShare(sequenceId, other) ? Math.min(commonLength(held, all), most) : 0;
            if (common <= end) continue;
            const usable = Math.min(common, this.#native.prefixEnd(this.#context, other, common));
            if (usable > end && this.#native.canGoOn(this.#context, other, usable)) [end, source, whole] = [usable, other, usable === held.length];
            longest = Math.max(longest, common);
        }
        // A third text may part where these two do. It then finds a prefix that ends there, with its window as it was.
        const fork = longest >= end + (this.#spacing ?? shortestPrefix) && this.#mayKeep(sequenceId) ? longest : undefined;
        if (whole) {
            await this.#tiers.evictIfDue(source);  // what several hold is never evicted
            end = Math.min(end, this.#native.prefixEnd(this.#context, source, end));
        }
        if (end < first + shortestPrefix) return {taken: 0, cuts: this.#cuts(request, 0, fork)};
        if (this.#native.forkPrefix(this.#context, source, sequenceId, end) !== null) {
            if (this.#context.getSequenceKvCacheMaxPosition(sequenceId) + 1 >= first) return {taken: 0, cuts: this.#cuts(request, 0, fork)};
            this.#held.delete(sequenceId);
            return {taken: 0, cuts: [], lost: own};
        }
        this.#held.set(sequenceId, all.slice(0, end));
        this.#pending.reached(sequenceId, end);
        this.#kept.touch(source);
        this.#attached++;
        this.#attachedTokens += end - first;
        this.#emit({type: "attach", sequenceId, tokens: end - first});
        return {taken: end - first, cuts: this.#cuts(request, end - first, fork)};
    }

    /** Where an evaluation of the request's tokens behind `taken` leaves states; null if there are none to leave. */
    #places({sequenceId, firstTokenSequenceIndex: first, tokens, logits}: DecodeRequest, taken: number): number[] | null {
        if (this.#spacing === null) return null;
        const most = this.#mayKeep(sequenceId) ? this.#kept.mostStates : 0, atEnd = !logits.some((wanted) => wanted);
        return statePlaces(first + taken, first + tokens.length, {spacing: this.#spacing, most, atEnd});
    }

    /** @param fork where the request's text parts from another one; undefined if a prefix need not end there */
    #cuts(request: DecodeRequest, taken: number, fork: number | undefined): number[] {
        const places = this.#places(request, taken) ?? [], {firstTokenSequenceIndex: first} = request;
        const cuts = fork === undefined ? places : [...places.filter((place) => Math.abs(place - fork) >= this.#spacing!), fork];
        return cuts.map((cut) => cut - first).sort((a, b) => a - b);
    }

    /** Sequences and kept prefixes with what they hold. */
    #holders(): [number, readonly number[]][] {
        return [...this.#held, ...this.#kept.entries()];
    }

    /** Whether exactly these tokens of a sequence are kept for those that it may share with. That counts as a use. */
    #isKept(sequence: number, tokens: readonly number[]): boolean {
        for (const [other, held] of this.#kept.entries()) {
            if (held.length !== tokens.length || !this.#mayShare(sequence, other) || commonLength(held, tokens) < held.length) continue;
            this.#kept.touch(other);
            return true;
        }
        return false;
    }

    /** Keeps a sequence's tokens, of which the last was evaluated just now, for others to start with. */
    async #offer(sequence: number, length: number): Promise<void> {
        const held = this.#held.get(sequence);
        if (held?.length !== length) return;
        await this.#tiers.evictIfDue(sequence);
        const endsHere = ([other, tokens]: [number, readonly number[]]) =>
            this.#mayShare(sequence, other) && tokens.length === length && commonLength(tokens, held) === length;
        if (!(this.#spacing === null ? this.#holders().some(endsHere) : this.#isKept(sequence, held))) this.#keep(sequence, held);
        this.#pending.reached(sequence, length);
    }

    #keep(sequence: number, tokens: readonly number[]): void {
        const slot = this.#mayKeep(sequence) ? this.#kept.keep(sequence, tokens) : undefined;
        if (slot !== undefined) this.setGroup(slot, this.#groups.get(sequence));
    }

    /** Whether what the sequence holds may be kept for others. */
    #mayKeep(sequence: number): boolean {
        return this.#kept.allowed && (this.#groups.has(sequence) || this.#scope === "context");
    }
}

/** Most tokens of a request that can be attached: those before the first whose logits are wanted, and not the last one, as something has to be evaluated. */
function mostAttachable({tokens, logits}: DecodeRequest): number {
    const wanted = logits.findIndex((wanted) => wanted);
    return Math.min(wanted < 0 ? tokens.length : wanted, tokens.length - 1);
}
