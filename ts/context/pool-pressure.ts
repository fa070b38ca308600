import type {NativeBinding} from "../engine/native.js";
import {bitsOf, type Policy} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import {betweenTokens, evaluating} from "./evaluating.js";
import type {SequenceLife} from "./sequence-life.js";
import type {SequenceTiers} from "./sequence-tiers.js";
import type {Parking} from "./parking.js";

/**
 * Decides what a context gives up when its pool comes to the limit. Kept prefixes go first, then rows of idle sequences, as the policy says.
 * Methods that give something up run between batches.
 */
export class PoolPressure {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #policy: Policy;
    readonly #tiers: SequenceTiers;
    readonly #batchSize: number;
    readonly #dropPrefix: () => boolean;
    /** Idle sequences are parked before they are made smaller: parking loses nothing. */
    parking: Parking | null = null;
    /** The sequences that are evaluated: how many evaluations are under way, and the position where the furthest ends. */
    readonly #busy = new Map<SequenceLife, {evaluations: number; end: number}>();
    /** When the last evaluation ended. Milliseconds. */
    #ended = -Infinity;
    /** When each sequence that holds rows was last used, the longest unused first. Milliseconds. */
    readonly #used = new Map<SequenceLife, number>();

    /** @param dropPrefix drops a kept prefix; false if there is none */
    constructor(context: AddonContext, native: NativeBinding, policy: Policy, tiers: SequenceTiers, batchSize: number, dropPrefix: () => boolean) {
        this.#context = context;
        this.#native = native;
        this.#policy = policy;
        this.#tiers = tiers;
        this.#batchSize = batchSize;
        this.#dropPrefix = dropPrefix;
    }

    /** While `work` evaluates a sequence up to position `end`, the sequence is not idle. */
    async during<R>(life: SequenceLife, end: number, work: () => Promise<R>): Promise<R> {
        const {evaluations, end: before} = this.#busy.get(life) ?? {evaluations: 0, end: 0};
        this.#busy.set(life, {evaluations: evaluations + 1, end: Math.max(end, before)});
        this.#tiers.woken(life.sequenceId);
        try {
            return await evaluating(work);
        } finally {
            const busy = this.#busy.get(life)!;
            if (--busy.evaluations === 0) this.#busy.delete(life);
            this.#ended = performance.now();
        }
    }

    /** A sequence that holds rows was used just now. */
    touched(life: SequenceLife): void {
        this.#used.delete(life);
        this.#used.set(life, performance.now());
    }

    /** Whether anything is evaluated, or was just now: an app that generates leaves gaps between two tokens. */
    get busy(): boolean {
        return this.#busy.size > 0 || performance.now() - this.#ended < 1000 * betweenTokens;
    }

    /** When the sequence was last used; undefined if it is evaluated now, or holds no rows. */
    lastUse(life: SequenceLife): number | undefined {
        return this.#busy.has(life) ? undefined : this.#used.get(life);
    }

    /** Sequences that hold rows and were not used for so many seconds, the longest unused first. */
    idleFor(seconds: number): SequenceLife[] {
        const until = performance.now() - 1000 * seconds;
        return [...this.#used].filter(([life, used]) => used <= until && !this.#busy.has(life)).map(([life]) => life);
    }

    emptied(life: SequenceLife): void {
        this.#used.delete(life);
    }

    /** Makes room before a request needs it. Not while a request is under way that could not be served anyway. */
    async relieve(): Promise<void> {
        const {pressure, poolLimitBytes} = this.#policy;
        const full = () => pressure !== null && this.#native.residentBytes(this.#context) > pressure.above * poolLimitBytes;
        if (!full() || this.#anyHopeless([...this.#busy.keys()])) return;
        while (await this.giveUp() && full());
    }

    /** Makes room for the next batch of a sequence that is evaluated, at `position`. Whether there is room now. */
    async makeRoom(life: SequenceLife, position: number): Promise<boolean> {
        const tokens = this.#busy.get(life)!.end - position;
        const fits = () => {
            this.#native.beginAdmission(this.#context);
            return this.#native.admit(this.#context, life.sequenceId, position, Math.min(tokens, this.#batchSize));
        };
        try {
            if (fits()) return true;
            if (this.#anyHopeless([life])) return false;
            while (await this.giveUp()) if (fits()) return true;
            return false;
        } finally {
            this.#native.takeFailure(this.#context);
        }
    }

    /** Gives one thing up; false if nothing is left. */
    async giveUp(): Promise<boolean> {
        if (this.#dropPrefix()) return true;
        for (const life of this.#parkable())
            if (await this.parking!.park(life, (work) => work(), true)) return true;
        for (const {sequenceId} of this.#idle()) if (await this.#tiers.press(sequenceId)) return true;
        return false;
    }

    /**
     * Whether a request of one of these sequences would not fit if all were given up that can be. In doubt it would: so a request of no more than a
     * batch is never hopeless.
     */
    #anyHopeless(lives: readonly SequenceLife[]): boolean {
        const wanted = lives.filter(({isOpen}) => isOpen)
            .map((life) => ({id: life.sequenceId, tokens: this.#busy.get(life)!.end - 1 - this.#context.getSequenceKvCacheMaxPosition(life.sequenceId)}))
            .filter(({tokens}) => tokens > this.#batchSize);
        if (wanted.length === 0) return false;
        const idle = new Set([...this.#idle(), ...this.#parkable()].map(({sequenceId}) => sequenceId)), {sequences, stockBytes, tokens: held} = this.#native.stats(this.#context);
        let least = 0;
        for (const {id, residentBytes} of sequences) least += residentBytes * (idle.has(id) ? this.parking === null ? this.#tiers.least(id) : 0 : 1);
        const bytesOf = ({id, tokens}: {id: number; tokens: number}) => held === 0 ? 0 : stockBytes / held * tokens * bitsOf(this.#tiers.of(id)) / 32;
        return wanted.some((one) => least + bytesOf(one) > this.#policy.poolLimitBytes);
    }

    /** Sequences to park, the longest idle first. Parking loses nothing, so only the gap between two tokens of an answer is not idle enough. */
    #parkable(): SequenceLife[] {
        const {pressure, turns} = this.#policy;
        return this.parking === null ? [] : this.idleFor(Math.min(pressure?.idle ?? betweenTokens, turns!.park!));
    }

    /** Sequences to make smaller, the longest idle first; none if the policy has no `pool.pressure`. */
    #idle(): SequenceLife[] {
        const {pressure} = this.#policy;
        return pressure === null ? [] : this.idleFor(pressure.idle);
    }
}
