import {DeltaStoreError, toDeltaStoreError} from "../errors.js";
import type {CacheEvent} from "../events.js";
import type {AddonContextHandle, Eviction, NativeBinding} from "../engine/native.js";
import {bitsOf, ruledTier, tiersBeside, unknownTier, type Policy, type Rule, type Tier} from "../policy/tiers.js";

interface Sequence {
    /** The `name` that getSequence was given. */
    name: string | undefined;
    /** The tier that the app chose, if it did. No rule and no pressure changes it. */
    chosen: Tier | undefined;
    tier: Tier;
    /** Pressure gave it its tier, which stays until the sequence is emptied. */
    pressed: boolean;
    /** Since its last evaluation its window was packed, and the rows that its tier drops were dropped. */
    resting: boolean;
    /** Rows are not as its tier has them: there was no memory to change them. */
    unfinished: boolean;
}

export interface SequenceTiersHooks {
    emit(event: CacheEvent): void;
    /** The sequence's rows are no longer as others expect them of its tier. */
    changed(sequenceId: number): void;
}

/**
 * The tiers of one context's sequences. Methods that change rows run between batches. On failure rows stay as they were, and the method
 * rejects with POOL_LIMIT_REACHED or OUT_OF_MEMORY.
 */
export class SequenceTiers {
    /** The tier of sequences that neither the app nor a rule gives another. */
    readonly own: Tier;
    readonly #context: AddonContextHandle;
    readonly #native: NativeBinding;
    readonly #policy: Policy;
    /** The tiers that sequences can have. */
    readonly #allowed: ReadonlySet<Tier>;
    readonly #rules: readonly Rule[];
    readonly #hooks: SequenceTiersHooks;
    readonly #sequences = new Map<number, Sequence>();

    /** @throws DeltaStoreError MODEL_UNSUPPORTED: the model has ALiBi, and a tier that the policy may give to sequences evicts */
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

    /** The names of the tiers that sequences can have. */
    get names(): string[] {
        return [...this.#allowed].map(({name}) => name);
    }

    of(sequenceId: number): Tier {
        return this.#sequences.get(sequenceId)?.tier ?? this.own;
    }

    /**
     * Gives a sequence that holds nothing its first tier.
     * @param chosen the name of the tier that the app asks for, if it does
     * @throws DeltaStoreError TIER_UNKNOWN, OPTION_INVALID, MODEL_UNSUPPORTED
     */
    begin(sequenceId: number, name: string | undefined, chosen: string | undefined): void {
        const asked = chosen === undefined ? undefined : this.#resolve(chosen), tier = this.#first(name, asked);
        this.#set(sequenceId, tier);
        this.#sequences.set(sequenceId, {name, chosen: asked, tier, pressed: false, resting: false, unfinished: false});
    }

    /** A kept prefix has the tier of the sequence that evaluated it. */
    keep(slot: number, sequenceId: number): void {
        this.#set(slot, this.of(sequenceId));
    }

    /** The sequence holds nothing any more. The tiers that rules and pressure gave it end with that. */
    emptied(sequenceId: number): void {
        if (this.#sequences.has(sequenceId)) this.#renew(sequenceId, 0);
    }

    /** The tier that the sequence has once so many tokens take the place of its own. */
    fresh(sequenceId: number, tokens: number): Tier {
        const {name, chosen} = this.#entry(sequenceId);
        return this.#first(name, chosen, tokens);
    }

    /**
     * So many tokens took the place of its own.
     * @param alike whether their rows are as that tier has them; if not, they are changed to it where a rule gave the tier
     */
    async renewed(sequenceId: number, tokens: number, alike: boolean): Promise<void> {
        const before = this.of(sequenceId), tier = this.#renew(sequenceId, tokens);
        if (tier === this.fresh(sequenceId, 0)) return;
        if (tier !== before) this.#hooks.emit({type: "tier", sequenceId, tier: tier.name, before: before.name, reason: "rule"});
        this.#entry(sequenceId).unfinished = !alike;
        await this.#follow(sequenceId).catch(() => undefined);
    }

    #renew(sequenceId: number, tokens: number): Tier {
        const entry = this.#entry(sequenceId), tier = this.fresh(sequenceId, tokens);
        entry.pressed = entry.unfinished = entry.resting = false;
        if (tier !== entry.tier) this.#set(sequenceId, tier);
        return tier;
    }

    /** The app gives the sequence a tier. @throws DeltaStoreError as `begin`, too */
    async choose(sequenceId: number, name: string): Promise<void> {
        const tier = this.#resolve(name), entry = this.#entry(sequenceId);
        this.#assign(sequenceId, tier, "call");
        entry.chosen = tier;
        entry.pressed = false;
        await this.#follow(sequenceId);
    }

    /** Whether the rules give a sequence of so many tokens another tier than it has. */
    isDue(sequenceId: number, tokens: number): boolean {
        return this.#rules.length > 0 && this.#ruled(sequenceId, tokens) !== this.of(sequenceId);
    }

    /** Gives the sequence the tier that the rules say. Where there is no memory to change rows, they stay for now. */
    async heed(sequenceId: number, tokens: number): Promise<void> {
        this.#assign(sequenceId, this.#ruled(sequenceId, tokens), "rule");
        await this.#follow(sequenceId).catch(() => undefined);
    }

    #ruled(sequenceId: number, tokens: number): Tier {
        const {name, chosen, tier, pressed} = this.#entry(sequenceId);
        return chosen !== undefined || pressed ? tier : ruledTier(this.#rules, name, tokens) ?? this.own;
    }

    /** The sequence gets new rows. */
    woken(sequenceId: number): void {
        this.#entry(sequenceId).resting = false;
    }

    /** The tiers that pressure can still give the sequence, one after the other. */
    #next(sequenceId: number): Tier[] {
        const {chosen, tier} = this.#entry(sequenceId), {tiers} = this.#policy.pressure!;
        if (chosen !== undefined) return [];
        return tiers.slice(tiers.indexOf(tier) + 1).filter((other) => this.#allowed.has(other) && bitsOf(other) < bitsOf(tier));
    }

    /** The smallest share of its memory that pressure can leave the sequence, about. */
    least(sequenceId: number): number {
        const bits = bitsOf(this.of(sequenceId));
        return Math.min(bits, ...this.#next(sequenceId).map(bitsOf)) / bits;
    }

    /**
     * Makes an idle sequence smaller; false if no memory came back. First its window is packed, but for the rows that the policy leaves, and the rows
     * go that its tier drops, although the slack is not full. Then it gets the next tiers, until one gives memory back.
     */
    async press(sequenceId: number): Promise<boolean> {
        const entry = this.#entry(sequenceId), {tier, unfinished} = entry, {window} = this.#policy.pressure!;
        if (entry.chosen !== undefined) return false;
        const steps = [...unfinished ? [tier] : [], ...this.#next(sequenceId)];
        if (entry.resting && steps.length === 0) return false;
        const held = () => this.#native.residentBytes(this.#context), before = held();
        if (!entry.resting) {
            entry.resting = true;
            if (window < tier.window) await this.#native.repack(this.#context, sequenceId, window).catch(() => undefined);
            if (tier.eviction !== null) await this.evict(sequenceId, tier.eviction).catch(() => undefined);
        }
        for (const next of steps) {
            if (held() < before) return true;
            entry.pressed = true;
            this.#assign(sequenceId, next, "pressure");
            await this.#follow(sequenceId).catch(() => undefined);
        }
        return held() < before;
    }

    /** Drops rows. Tells the listeners if some went. */
    async evict(sequenceId: number, eviction: Eviction): Promise<void> {
        const held = () => this.#native.stats(this.#context).sequences.find(({id}) => id === sequenceId);  // a kept prefix has none
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

    /** Drops rows if the sequence's tier says so now. Where there is no memory for it, rows stay for now. */
    async evictIfDue(sequenceId: number): Promise<void> {
        const {eviction} = this.of(sequenceId);
        if (eviction !== null && this.#native.evictionDue(this.#context, sequenceId)) await this.evict(sequenceId, eviction).catch(() => undefined);
    }

    /** Gives the rows to come this tier. */
    #assign(sequenceId: number, tier: Tier, reason: (CacheEvent & {type: "tier"})["reason"]): void {
        const before = this.of(sequenceId);
        if (tier === before) return;
        this.#set(sequenceId, tier);
        this.#entry(sequenceId).unfinished = true;
        this.#hooks.changed(sequenceId);
        this.#hooks.emit({type: "tier", sequenceId, tier: tier.name, before: before.name, reason});
    }

    /** Changes the rows that are there to the sequence's tier, where they are not as it has them. */
    async #follow(sequenceId: number): Promise<void> {
        const entry = this.#entry(sequenceId), {tier} = entry;
        if (!entry.unfinished) return;
        try {
            await this.#native.repack(this.#context, sequenceId, tier.window);
        } catch (error) {
            throw toDeltaStoreError(error);
        } finally {
            if (tier.eviction !== null) await this.evict(sequenceId, tier.eviction);
        }
        entry.unfinished = false;
    }

    #first(name: string | undefined, chosen: Tier | undefined, tokens = 0): Tier {
        return chosen ?? ruledTier(this.#rules, name, tokens) ?? this.own;
    }

    #resolve(name: string): Tier {
        const tier = this.#policy.tiers.get(name);
        if (tier === undefined) throw unknownTier(name, [...this.#policy.tiers.keys()]);
        if (this.#allowed.has(tier)) return tier;
        throw new DeltaStoreError("OPTION_INVALID", `The sequence's tier is "${name}", but the context's, "${this.own.name}", keeps rows as they come, which ` +
            "can't be packed later. Create the context with a tier that packs, and give sequences this one where it is wanted");
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
        if (entry === undefined) this.#sequences.set(sequenceId, entry = {name: undefined, chosen: undefined, tier: this.own, pressed: false, resting: false, unfinished: false});
        return entry;
    }
}
