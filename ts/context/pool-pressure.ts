import type {NativeBinding} from "../engine/native.js";
import {bitsOf, type Policy} from "../policy/tiers.js";
import type {AddonContext} from "../runtime/addon.js";
import type {SequenceLife} from "./sequence-life.js";
import type {SequenceTiers} from "./sequence-tiers.js";
import type {Parking} from "./parking.js";

/** Seconds that an app may take from one token of an answer to the next. */
const betweenTokens = 0.1;

/**
 * What a context gives up as its pool comes to the limit: kept prefixes, and then what idle sequences hold, as the policy says. All that gives
 * up runs between batches.
 */
export class PoolPressure {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #policy: Policy;
    readonly #tiers: SequenceTiers;
    readonly #batchSize: number;
    readonly #dropPrefix: () => boolean;
    /** Where idle sequences go first, as nothing of them is lost there. */
    parking: Parking | null = null;
    /** The evaluations under way, and the position that they go to. */
    readonly #busy = new Map<SequenceLife, {evaluations: number; end: number}>();
    /** When the last one ended. Milliseconds. */
    #ended = -Infinity;
    /** When sequences that hold rows were last used, in the order of that. Milliseconds. */
    readonly #used = new Map<SequenceLife, number>();

    /** @param dropPrefix gives up a kept prefix; false if there is none */
    constructor(context: AddonContext, native: NativeBinding, policy: Policy, tiers: SequenceTiers, batchSize: number, dropPrefix: () => boolean) {
        this.#context = context;
        this.#native = native;
        this.#policy = policy;
        this.#tiers = tiers;
        this.#batchSize = batchSize;
        this.#dropPrefix = dropPrefix;
    }

    /** While `work` evaluates a sequence's tokens before position `end` it is not idle. */
    async during<R>(life: SequenceLife, end: number, work: () => Promise<R>): Promise<R> {
        const {evaluations, end: before} = this.#busy.get(life) ?? {evaluations: 0, end: 0};
        this.#busy.set(life, {evaluations: evaluations + 1, end: Math.max(end, before)});
        this.#tiers.woken(life.sequenceId);
        try {
            return await work();
        } finally {
            const busy = this.#busy.get(life)!;
            if (--busy.evaluations === 0) this.#busy.delete(life);
            this.#ended = performance.now();
        }
    }

    /** A sequence holds rows, and has just been used. */
    touched(life: SequenceLife): void {
        this.#used.delete(life);
        this.#used.set(life, performance.now());
    }

    /** Whether anything is evaluated, or was just now: between two tokens of an answer nothing is. */
    get busy(): boolean {
        return this.#busy.size > 0 || performance.now() - this.#ended < 1000 * betweenTokens;
    }

    /** When it was; undefined if it holds no rows. */
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

    /** Makes room before it is asked for; not for a request that can't be served. */
    async relieve(): Promise<void> {
        const {pressure, poolLimitBytes} = this.#policy;
        const full = () => pressure !== null && this.#native.residentBytes(this.#context) > pressure.above * poolLimitBytes;
        if (!full() || this.#anyHopeless([...this.#busy.keys()])) return;
        while (await this.giveUp() && full());
    }

    /** Whether there is room now for the next batch of a sequence that is evaluated, at `position`. */
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

    /** One step; false if there is nothing left to give up. */
    async giveUp(): Promise<boolean> {
        if (this.#dropPrefix()) return true;
        for (const life of this.#parkable())
            if (await this.parking!.park(life, (work) => work(), true)) return true;
        for (const {sequenceId} of this.#idle()) if (await this.#tiers.press(sequenceId)) return true;
        return false;
    }

    /** Whether what one of these sequences evaluates would not fit if all were given up. In doubt, as with what a batch does, it would. */
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

    /** Those that are idle for longest first: nothing of them is lost, so that any but those between two tokens of an answer will do. */
    #parkable(): SequenceLife[] {
        const {pressure, turns} = this.#policy;
        return this.parking === null ? [] : this.idleFor(Math.min(pressure?.idle ?? betweenTokens, turns!.park!));
    }

    /** Those idle for longest first; none if the policy gives up none. */
    #idle(): SequenceLife[] {
        const {pressure} = this.#policy;
        return pressure === null ? [] : this.idleFor(pressure.idle);
    }
}
