import {DeltaStoreError, toDeltaStoreError} from "./errors.js";
import type {CacheEvent} from "./events.js";
import type {AddonContextHandle, Eviction, NativeBinding} from "./native.js";
import {bitsOf, resolveTier, ruledTier, type Policy, type Rule, type Tier} from "./policy/tiers.js";

interface Sequence {
    /** What getSequence was given. */
    name: string | undefined;
    /** By the app; no rule and no pressure changes it. */
    chosen: Tier | undefined;
    tier: Tier;
    /** Until it is emptied, what pressure has made of it stays. */
    pressed: boolean;
}

export interface SequenceTiersHooks {
    emit(event: CacheEvent): void;
    /** What the sequence holds is no longer what its tier promises to others. */
    changed(sequenceId: number): void;
}

/**
 * The tiers of one context's sequences. What changes rows that are there runs between batches; on failure rows stay as they were, and it
 * rejects with POOL_LIMIT_REACHED or OUT_OF_MEMORY.
 */
export class SequenceTiers {
    /** Of sequences that neither the app nor a rule gives another. */
    readonly own: Tier;
    readonly #context: AddonContextHandle;
    readonly #native: NativeBinding;
    readonly #policy: Policy;
    /** That sequences can have. */
    readonly #allowed: ReadonlySet<Tier>;
    readonly #rules: readonly Rule[];
    readonly #hooks: SequenceTiersHooks;
    readonly #sequences = new Map<number, Sequence>();

    /** @throws DeltaStoreError MODEL_UNSUPPORTED: a tier that the policy may give to sequences evicts, and the model has ALiBi */
    constructor(context: AddonContextHandle, native: NativeBinding, policy: Policy, own: Tier, hooks: SequenceTiersHooks) {
        this.own = own;
        this.#context = context;
        this.#native = native;
        this.#policy = policy;
        this.#allowed = new Set([own, ...tiersBeside(own, policy)]);
        this.#rules = policy.rules.filter(({tier}) => this.#allowed.has(tier));
        this.#hooks = hooks;
        for (const tier of [...this.#rules.map(({tier}) => tier), ...policy.pressure?.tiers ?? []])
            if (this.#allowed.has(tier)) this.#set(0, tier);
        this.#set(0, own);
    }

    of(sequenceId: number): Tier {
        return this.#sequences.get(sequenceId)?.tier ?? this.own;
    }

    /**
     * Of a sequence that holds nothing.
     * @param chosen the name of the tier that the app asks for, if it does
     * @throws DeltaStoreError TIER_UNKNOWN, OPTION_INVALID, MODEL_UNSUPPORTED
     */
    begin(sequenceId: number, name: string | undefined, chosen: string | undefined): void {
        const asked = chosen === undefined ? undefined : this.#resolve(chosen), tier = this.#first(name, asked);
        this.#set(sequenceId, tier);
        this.#sequences.set(sequenceId, {name, chosen: asked, tier, pressed: false});
    }

    /** A kept prefix has the tier of the sequence that evaluated it. */
    keep(slot: number, sequenceId: number): void {
        this.#set(slot, this.of(sequenceId));
    }

    /** The sequence holds nothing any more, so what rules and pressure made of it is over. */
    emptied(sequenceId: number): void {
        const sequence = this.#sequences.get(sequenceId);
        if (sequence === undefined) return;
        sequence.pressed = false;
        const first = this.#first(sequence.name, sequence.chosen);
        if (first !== sequence.tier) this.#set(sequenceId, first);
    }

    /** @throws DeltaStoreError as `begin`, too */
    async choose(sequenceId: number, name: string): Promise<void> {
        const tier = this.#resolve(name);
        await this.#change(sequenceId, tier, "call");
        this.#entry(sequenceId).chosen = tier;
    }

    /** What the rules say of a sequence that has come to so many tokens. Without memory for it, rows stay for now. */
    async heed(sequenceId: number, tokens: number): Promise<void> {
        if (this.#rules.length === 0) return;
        const {name, chosen, tier, pressed} = this.#entry(sequenceId);
        if (chosen !== undefined || pressed) return;
        const ruled = ruledTier(this.#rules, name, tokens) ?? this.own;
        if (ruled !== tier) await this.#change(sequenceId, ruled, "rule").catch(() => undefined);
    }

    /** The tier that pressure gives the sequence next; undefined if none. */
    next(sequenceId: number): Tier | undefined {
        const {chosen, tier} = this.#entry(sequenceId), tiers = this.#policy.pressure?.tiers ?? [];
        if (chosen !== undefined) return undefined;
        return tiers.slice(tiers.indexOf(tier) + 1).find((other) => this.#allowed.has(other) && bitsOf(other) < bitsOf(tier));
    }

    /** Gives the sequence its next tier; rows for which there is no memory to move them stay. */
    async press(sequenceId: number): Promise<void> {
        const tier = this.next(sequenceId);
        if (tier === undefined) return;
        this.#entry(sequenceId).pressed = true;
        await this.#change(sequenceId, tier, "pressure").catch(() => undefined);
    }

    /** Drops rows, and tells the listeners if some went. */
    async evict(sequenceId: number, eviction: Eviction): Promise<void> {
        const held = () => this.#native.stats(this.#context).sequences.find(({id}) => id === sequenceId);  // undefined for a kept prefix
        const before = held();
        try {
            await this.#native.evict(this.#context, sequenceId, eviction);
        } catch (error) {
            throw toDeltaStoreError(error);
        } finally {
            const after = held();
            if (after !== undefined && after.kept !== before?.kept)
                this.#hooks.emit({type: "evict", sequenceId, tokens: after.tokens, kept: after.kept});
        }
    }

    /** As the sequence's tier says. Without memory for it, rows stay for now. */
    async evictIfDue(sequenceId: number): Promise<void> {
        const {eviction} = this.of(sequenceId);
        if (eviction !== null && this.#native.evictionDue(this.#context, sequenceId)) await this.evict(sequenceId, eviction).catch(() => undefined);
    }

    async #change(sequenceId: number, tier: Tier, reason: (CacheEvent & {type: "tier"})["reason"]): Promise<void> {
        const before = this.of(sequenceId);
        this.#set(sequenceId, tier);
        this.#hooks.changed(sequenceId);
        if (tier !== before) this.#hooks.emit({type: "tier", sequenceId, tier: tier.name, before: before.name, reason});
        try {
            await this.#native.repack(this.#context, sequenceId);
        } catch (error) {
            throw toDeltaStoreError(error);
        }
        if (tier.eviction !== null) await this.evict(sequenceId, tier.eviction);
    }

    #first(name: string | undefined, chosen: Tier | undefined): Tier {
        return chosen ?? ruledTier(this.#rules, name, 0) ?? this.own;
    }

    #resolve(name: string): Tier {
        const tier = resolveTier(this.#policy, name);
        if (this.#allowed.has(tier)) return tier;
        throw new DeltaStoreError("OPTION_INVALID", `kvCache is "${name}", but the context's tier "${this.own.name}" keeps rows as they come, which can't be ` +
            "packed later. Create the context with a tier that packs, and give sequences this one where it is wanted");
    }

    #set(sequenceId: number, tier: Tier): void {
        try {
            this.#native.setTier(this.#context, sequenceId, tier.name);
        } catch (error) {
            throw toDeltaStoreError(error);
        }
        this.#entry(sequenceId).tier = tier;
    }

    #entry(sequenceId: number): Sequence {
        let entry = this.#sequences.get(sequenceId);
        if (entry === undefined) this.#sequences.set(sequenceId, entry = {name: undefined, chosen: undefined, tier: this.own, pressed: false});
        return entry;
    }
}

/** The tiers that a context's sequences can have besides its own: rows are rotated in all or in none. */
export function tiersBeside(own: Tier, policy: Policy): Tier[] {
    return [...policy.tiers.values()].filter((other) => other !== own && (own.format !== "f16" || other.format === "f16"));
}
