import {inspect} from "node:util";
import {EventRelay} from "lifecycle-utils";
import type {Llama, LlamaContext, LlamaContextSequence, LlamaDecisionContext} from "node-llama-cpp";
import {DeltaStoreError, isUnsupported, toDeltaStoreError, type ErrorCode} from "../errors.js";
import type {CacheEvent, StoreEvent} from "../events.js";
import {forkSequence} from "../context/fork.js";
import type {ContextOwner, ParkingParts} from "../context/owner.js";
import type {Parking} from "../context/parking.js";
import {checkModelFiles} from "../runtime/model-files.js";
import type {NativeBinding, NativeSequenceStats} from "../engine/native.js";
import {packedContextClass} from "../context/packed-context.js";
import {packedOf} from "../context/packed.js";
import {packedLife, requireSequence} from "../context/packed-sequence.js";
import {patchRuntime} from "../context/patch-runtime.js";
import type {SharingStats} from "../context/prefix-sharing.js";
import {evictionOf, type EvictOptions} from "../policy/evict-options.js";
import {invalid, requireOptions} from "../options.js";
import {requireTierName, stockCacheName, type Policy} from "../policy/tiers.js";
import type {AddonContext, AddonContextClass} from "../runtime/addon.js";
import {addonContextOf, requireAddonContext} from "../runtime/contexts.js";
import {contextClassOf, setContextClass} from "../runtime/llamas.js";
import {openTurns, type TurnsOptions} from "../turns/open.js";
import {TurnsParking} from "../turns/parking.js";
import type {Turns} from "../turns/turns.js";
import {wake} from "../context/wake.js";

/** What a context's cache holds. Bytes are what the system gave the process for it, slack and bookkeeping counted. */
export interface CacheStats {
    /** Tokens of all sequences. */
    tokens: number;
    residentBytes: number;
    /** The largest residentBytes so far. */
    peakResidentBytes: number;
    /** Bytes of stock's F16 cache for these tokens. Layers with a sliding window have a window and a batch of them at most. */
    stockBytes: number;
    /** The part of these three figures that llama.cpp keeps, packed cache or not: recurrent states. 0 for models without. */
    bytesBeside: number;
    pages: number;
    /** Its `keptBytes` are the part of `residentBytes` that no sequence has. Null if the policy turns automatic sharing off. */
    sharing: SharingStats | null;
    sequences: NativeSequenceStats[];
}

export interface ForkOptions {
    /** So many of the source's first tokens go to the target. All if absent. */
    upTo?: number;
}

/** Codes of errors that come of the app's own options for the stock cache. */
const choiceCodes: readonly ErrorCode[] = ["KV_CACHE_TYPE_CONFLICT", "FLASH_ATTENTION_REQUIRED"];

/** The newest store of each Llama instance. It stays here when it is disposed. */
const stores = new WeakMap<Llama, DeltaStore>();

/** For native contexts with a packed cache: whose they are. Weak, as a context leads back to its native one. */
const contexts = new WeakMap<object, WeakRef<LlamaContext>>();

/** The packed caches of one Llama instance. Made by `attach`. */
export class DeltaStore implements ContextOwner {
    readonly policy: Policy;
    /** @internal The app's code knows nothing of the store, see register.ts. Then what it asks of the stock cache is a choice to respect. */
    registered = false;
    /** All events of contexts, as they happen: prefixes attached, kept and dropped, evictions, changes of tiers, parking, and requests refused for want of memory. */
    readonly onEvent = new EventRelay<StoreEvent>();
    readonly #llama: Llama;
    readonly #native: NativeBinding | null;
    readonly #stockClass: AddonContextClass | null;
    readonly #packedClass: AddonContextClass | null;
    readonly #failure: DeltaStoreError | null;
    readonly #leaveModelFiles: (() => void) | null;
    /** Code and message of the errors that a warning told of. */
    readonly #warned = new Set<string>();
    #turns: Promise<Turns> | undefined;
    #disposed = false;

    /**
     * @internal
     * @param native null if the stock cache serves instead; with `failure`, a context that asks for another is refused
     */
    constructor(llama: Llama, policy: Policy, native: NativeBinding | null, failure: DeltaStoreError | null = null) {
        this.policy = policy;
        this.#llama = llama;
        this.#native = native;
        this.#stockClass = native === null ? null : contextClassOf(llama);
        this.#packedClass = native === null ? null : packedContextClass(this.#stockClass!, native);
        this.#failure = failure;
        if (this.#packedClass !== null) setContextClass(llama, this.#packedClass);
        this.#leaveModelFiles = native === null ? null : checkModelFiles(llama);
        if (native !== null) patchRuntime();
        stores.set(llama, this);
    }

    /** Whether contexts get packed caches. False if the whole Llama instance fell back to the stock cache (`onUnsupported: "stock"`), or after `dispose`. */
    get active(): boolean {
        return this.#native !== null && !this.#disposed;
    }

    /** Whether `dispose` was called, or another store took this one's place. */
    get disposed(): boolean {
        return this.#disposed;
    }

    /** The names that `kvCache` takes. */
    get tiers(): string[] {
        return [...this.policy.tiers.keys(), stockCacheName];
    }

    /**
     * Whether the context has a packed cache. It has node-llama-cpp's own with `kvCache: "stock"`, where `onUnsupported: "stock"` took effect, and if
     * it was created before `attach` or after `dispose`.
     * @throws DeltaStoreError OPTION_INVALID if it is neither a LlamaContext nor a LlamaDecisionContext
     */
    isPacked(context: LlamaContext | LlamaDecisionContext): boolean {
        return packedOf(requireAddonContext(context)) !== undefined;
    }

    /** @throws DeltaStoreError DISPOSED, or OPTION_INVALID if the context has the stock cache (see `isPacked`) */
    stats(context: LlamaContext | LlamaDecisionContext): CacheStats {
        const addonContext = requireAddonContext(context);
        if (context.disposed) throw new DeltaStoreError("DISPOSED", "The context is disposed");
        const packed = packedOf(addonContext);
        if (packed === undefined)
            throw new DeltaStoreError("OPTION_INVALID", "The context has the stock cache, of which there are no stats; isPacked(context) tells");
        try {
            const {keptBytes, stateBytes, ...stats} = packed.native.stats(addonContext), {sharing} = packed, {bytesBeside} = stats;
            for (const figure of ["residentBytes", "peakResidentBytes", "stockBytes"] as const) stats[figure] += bytesBeside;
            return {...stats, sharing: sharing === null ? null : {...sharing.stats, keptBytes, stateBytes}};
        } catch (error) {
            throw toDeltaStoreError(error);
        }
    }

    /**
     * Drops rows of a sequence now, whether or not its tier would. Sinks and the window stay. Options that are left out are as in
     * the sequence's tier. Waits for the batch under way, and does its work off the event loop.
     * @throws DeltaStoreError OPTION_INVALID: not a sequence of a packed context, no `keep` in options or tier, or a scorer that needs
     *     watched attention in a tier that watches none; MODEL_UNSUPPORTED: ALiBi; POOL_LIMIT_REACHED or OUT_OF_MEMORY: there was no page to
     *     move rows into, so some stayed; DISPOSED
     */
    async evict(sequence: LlamaContextSequence, options: EvictOptions = {}): Promise<void> {
        requireSequence(sequence);
        const {packed: {tiers, sharing, parking}, life} = packedLife(sequence), {sequenceId} = life;
        evictionOf(tiers.of(sequenceId), options);  // to throw at once
        await wake(sequence);
        await life.between(async () => {
            await parking?.comeBack(life);
            const eviction = evictionOf(tiers.of(sequenceId), options);
            sharing?.truncated(sequenceId, 0);  // others expect rows as the tier has them
            await tiers.evict(sequenceId, eviction);
        });
    }

    /**
     * The name of the tier that rows of this sequence get from now on.
     * @throws DeltaStoreError OPTION_INVALID if it is not a sequence of a packed context; DISPOSED
     */
    tierOf(sequence: LlamaContextSequence): string {
        requireSequence(sequence);
        const {packed: {tiers}, life} = packedLife(sequence);
        return tiers.of(life.sequenceId).name;
    }

    /**
     * Gives a sequence another tier. Rows to come are stored by it at once. Older rows are packed and dropped by it where that makes them
     * smaller. They never get back what they lost. Pages that others share stay as they are. Waits for the batch under way, and does its work
     * off the event loop.
     * @throws DeltaStoreError TIER_UNKNOWN; OPTION_INVALID: not a sequence of a packed context, or one whose tier keeps rows F16;
     *     MODEL_UNSUPPORTED: the tier evicts, and the model has ALiBi; POOL_LIMIT_REACHED or OUT_OF_MEMORY: there was no page to move rows into, so
     *     some stayed as they were; DISPOSED
     */
    async setTier(sequence: LlamaContextSequence, name: string): Promise<void> {
        requireSequence(sequence);
        const {packed: {tiers, parking}, life} = packedLife(sequence);
        requireTierName("The tier", name, tiers.names);
        await wake(sequence);
        await life.between(async () => {
            await parking?.comeBack(life);
            await tiers.choose(life.sequenceId, name);
        });
    }

    /**
     * Makes `target` a continuation of what `source` holds, in place of what it had. They share the pages, and each goes on by itself. A fork copies
     * only a table of pages, whatever the length. It waits for the batch under way. An `evaluate` of the target that is under way ends with
     * OPTION_INVALID when it is asked for more. The target keeps its tier for the rows to come. On failure the target is as it was.
     * @throws DeltaStoreError OPTION_INVALID: not two sequences of one packed context, the source has no `upTo` tokens, or it no longer has the state
     *     of its sliding windows or recurrent layers at `upTo`; POOL_LIMIT_REACHED or
     *     OUT_OF_MEMORY: there is no page for the rows that both go on to write; DISPOSED
     */
    async fork(source: LlamaContextSequence, target: LlamaContextSequence, options: ForkOptions = {}): Promise<void> {
        for (const sequence of [source, target]) requireSequence(sequence);
        requireOptions("fork", options, ["upTo"]);
        if (packedOf(addonContextOf(source.context)) === undefined || source.context !== target.context)
            throw invalid("fork needs two sequences of one context with a packed cache; isPacked(context) tells");
        await forkSequence(source, target, () => {
            const {upTo = source.nextTokenIndex} = options;
            if (!Number.isSafeInteger(upTo) || upTo < 0 || upTo > source.nextTokenIndex)
                throw invalid(`upTo is ${inspect(upTo)}; allowed are 0 to ${source.nextTokenIndex}, the tokens of the source`);
            if (source === target && upTo < source.nextTokenIndex) throw invalid("The source is the target; erase its tokens instead");
            return upTo;
        });
    }

    /** Contexts that are created from now on are stock's, and so are errors of `loadModel`. Contexts that exist go on. Idempotent. */
    dispose(): void {
        if (this.#disposed) return;
        this.#disposed = true;
        this.#leaveModelFiles?.();
        if (this.#stockClass !== null && contextClassOf(this.#llama) === this.#packedClass) setContextClass(this.#llama, this.#stockClass);
    }

    [Symbol.dispose](): void {
        this.dispose();
    }

    /** @internal @throws the error of an attach that could not throw it, see attach-everywhere.ts */
    ensureServing(): void {
        if (this.#failure !== null) throw this.#failure;
    }

    /**
     * Opens the conversations of the policy's `turns.store`, or of another place. Close them when nothing more is to be saved.
     * @throws DeltaStoreError OPTION_INVALID: no place, or an option that is not allowed; STORE_FAILED; STORE_KEY_WRONG
     */
    async openTurns(options: TurnsOptions = {}): Promise<Turns> {
        return await openTurns(options, this.policy.turns);
    }

    /** @internal */
    newParking(context: AddonContext, seconds: number, parts: ParkingParts): Parking {
        return new TurnsParking(context, seconds, () => this.#policyTurns(), parts);
    }

    /** The turns that parked sequences go to. */
    #policyTurns(): Promise<Turns> {
        this.#turns ??= this.openTurns();
        this.#turns.catch(() => this.#turns = undefined);  // the next call tries again
        return this.#turns;
    }

    /** @internal */
    emit(addonContext: AddonContext, event: CacheEvent): void {
        const context = contexts.get(addonContext)?.deref();
        if (context !== undefined) this.onEvent.dispatchEvent({...event, context});
    }

    /**
     * @internal Whether the stock cache is to serve after this error. So it is if the policy says so, or if an app that knows nothing of the store chose
     * what only that cache has. Then it warns, of each cause once.
     * @param chosen whether the app asked for what only that cache has, and for no tier
     */
    fallsBackToStock(error: unknown, chosen: boolean): boolean {
        if (!(error instanceof DeltaStoreError)) return false;
        const choice = chosen && choiceCodes.includes(error.code);
        const toStock = this.policy.onUnsupported === "stock" || (this.policy.gpuLayers === "stock" && error.code === "GPU_LAYERS_UNSUPPORTED");
        if (!(toStock ? choice || isUnsupported(error) : choice && this.registered)) return false;
        if (this.#native === null && this.#failure === null) return true;  // attach has warned
        const cause = `${error.code}: ${error.message}`;
        if (this.#warned.has(cause)) return true;
        this.#warned.add(cause);
        process.emitWarning(`llama-deltastore uses the stock cache: ${error.message}`, {code: `DELTASTORE_${error.code}`});
        return true;
    }
}

/**
 * The store that serves this Llama instance's contexts: the one of the last `attach`, also of `--import llama-deltastore/register`.
 * Undefined if there was none, or if it is disposed.
 */
export function storeOf(llama: Llama): DeltaStore | undefined {
    const store = stores.get(llama);
    return store?.disposed ? undefined : store;
}

/** Whether this Llama instance has, or had, a store. */
export const hadStore = (llama: Llama): boolean => stores.has(llama);

/** Remembers whose native context it is, for the events. */
export function rememberContext(context: LlamaContext): void {
    contexts.set(addonContextOf(context), new WeakRef(context));
}
