import type {AddonContextHandle, NativeBinding} from "./native.js";
import type {Policy} from "./policy/tiers.js";
import type {SequenceTiers} from "./sequence-tiers.js";

/** A request's next tokens. */
interface Wanted {
    sequenceId: number;
    first: number;
    tokens: number;
}

export interface PoolPressureHooks {
    /** Gives up a kept prefix; false if there is none. */
    dropPrefix(): boolean;
}

/** What a context gives up as its pool comes to the limit: kept prefixes, and then what idle sequences hold, as the policy says. */
export class PoolPressure {
    readonly #context: AddonContextHandle;
    readonly #native: NativeBinding;
    readonly #policy: Policy;
    readonly #tiers: SequenceTiers;
    readonly #hooks: PoolPressureHooks;
    /** Evaluations under way, by sequence. */
    readonly #busy = new Map<number, number>();
    /** When a sequence's last evaluation ended, in the order of that. Milliseconds. */
    readonly #used = new Map<number, number>();

    constructor(context: AddonContextHandle, native: NativeBinding, policy: Policy, tiers: SequenceTiers, hooks: PoolPressureHooks) {
        this.#context = context;
        this.#native = native;
        this.#policy = policy;
        this.#tiers = tiers;
        this.#hooks = hooks;
    }

    /** While `work` evaluates a sequence it is not idle. */
    async during<R>(sequenceId: number, work: () => Promise<R>): Promise<R> {
        this.#busy.set(sequenceId, (this.#busy.get(sequenceId) ?? 0) + 1);
        try {
            return await work();
        } finally {
            const left = this.#busy.get(sequenceId)! - 1;
            if (left > 0) this.#busy.set(sequenceId, left);
            else this.#busy.delete(sequenceId);
            this.#used.delete(sequenceId);
            this.#used.set(sequenceId, performance.now());
        }
    }

    /** The sequence holds nothing. */
    emptied(sequenceId: number): void {
        this.#used.delete(sequenceId);
    }

    /** Between batches: makes room before it is asked for. */
    async relieve(): Promise<void> {
        const {pressure, poolLimitBytes} = this.#policy;
        if (pressure === null) return;
        while (this.#native.residentBytes(this.#context) > pressure.above * poolLimitBytes && await this.giveUp());
    }

    /** Between batches: whether there is room for a request now. */
    async makeRoom({sequenceId, first, tokens}: Wanted): Promise<boolean> {
        const fits = () => {
            this.#native.beginAdmission(this.#context);
            return this.#native.admit(this.#context, sequenceId, first, tokens);
        };
        for (;;) {
            if (fits()) break;
            if (!await this.giveUp()) return false;
        }
        this.#native.takeFailure(this.#context);
        return true;
    }

    /** Between batches: one step; false if there is nothing left to give up. */
    async giveUp(): Promise<boolean> {
        if (this.#hooks.dropPrefix()) return true;
        const {pressure} = this.#policy;
        if (pressure === null) return false;
        const until = performance.now() - 1000 * pressure.idle;
        for (const [sequenceId, used] of this.#used) {
            if (used > until) break;
            if (this.#busy.has(sequenceId) || this.#tiers.next(sequenceId) === undefined) continue;
            await this.#tiers.press(sequenceId);
            return true;
        }
        return false;
    }
}
