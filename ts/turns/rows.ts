import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {empty} from "../context/cut-back.js";
import {packedOf} from "../context/packed.js";
import {packedLife} from "../context/packed-sequence.js";
import {endEvaluations} from "../context/replacements.js";
import type {SequenceLife} from "../context/sequence-life.js";
import {wake} from "../context/wake.js";
import type {NativeBinding, NativeSnapshot, SnapshotParts} from "../engine/native.js";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "../errors.js";
import {invalid} from "../options.js";
import type {Tier} from "../policy/tiers.js";
import {underItsLock, withSequenceLock} from "../runtime/context-lock.js";
import {addonContextOf} from "../runtime/contexts.js";
import {forgetCheckpoints, forgetPredictions, setHeldTokens} from "../runtime/sequences.js";

/** A sequence as it was between two batches. Its blocks stay as they are until `end`. */
export interface Capture extends NativeSnapshot {
    readonly sequence: LlamaContextSequence;
    readonly native: NativeBinding;
    readonly tokens: Uint32Array;
    readonly tier: Tier;
    readonly shareable: boolean;
    /** How its context turns keys by positions. */
    readonly keyTurns: Uint8Array;
    /** Whether the context evaluates something. */
    isBusy(): boolean;
    /** Idempotent. */
    end(): void;
}

/**
 * Captures a sequence. Nothing that is asked for later changes the capture, not even disposal of the sequence or its context.
 * @throws DeltaStoreError OPTION_INVALID: no sequence of a packed context, or an empty one; OUT_OF_MEMORY; DISPOSED; as `wake`, and `Origin.known`
 */
export async function capture(sequence: LlamaContextSequence): Promise<Capture> {
    const {packed: {origin, parking}, life} = packedLife(sequence);
    origin.begin();
    for (;;) {
        if (parking?.isWaking(life)) await parking.awake(life);
        const captured = await life.between(async () => await parking?.comeBackWhole(life) === false ? null : await captureLocked(life));
        if (captured !== null) return captured;
        await wake(sequence);  // evaluates the tokens whose rows the store has lost
    }
}

/** Captures a sequence between two batches. */
export async function captureLocked(life: SequenceLife): Promise<Capture> {
    const {sequenceId} = life, sequence = life.sequence!, handle = addonContextOf(sequence.context), packed = packedOf(handle)!;
    const {native, tiers, sharing} = packed, held = handle.getSequenceKvCacheMaxPosition(sequenceId) + 1;
    const tokens = Uint32Array.from(sequence.contextTokens.slice(0, held));
    if (tokens.length === 0) throw invalid("The sequence holds no tokens, so there is nothing to save");
    await packed.origin.known();
    const snapshot = await coded(native.beginSnapshot(handle, sequenceId));
    return {
        ...snapshot, sequence, native, tokens, tier: tiers.of(sequenceId), shareable: sharing?.holds(sequenceId, tokens.length) ?? false,
        keyTurns: native.keyTurns(handle), isBusy: () => packed.pressure.busy, end: () => native.endSnapshot(snapshot.handle)
    };
}

/** What a store has of a sequence. */
export interface StoredRows {
    readonly parts: SnapshotParts;
    readonly tokens: Uint32Array;
    readonly tierDefinition: string;
    /** Adapters, as a turn of version 1 names them. Null for later versions, whose parts say it. */
    readonly describedAdapters: string | null;
    readonly shareable: boolean;
    /** Called when a sequence has these rows. */
    restored(sequence: LlamaContextSequence, identities: Uint8Array): void;
}

/**
 * Replaces a sequence's rows. Gives the number of tokens that had to be evaluated again. Evaluations of the sequence that are under way end. After a
 * failure it is as it was, or holds the tokens before those that could not be evaluated, or none if its windows or recurrent states did not come back.
 * @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN, TURN_MODEL_MISMATCH, STATE_FORMAT_MISMATCH, STATE_TOO_LARGE, POOL_LIMIT_REACHED, OUT_OF_MEMORY,
 *     OPTION_INVALID, DISPOSED; as `Origin.known`
 */
export async function bringBack(sequence: LlamaContextSequence, stored: StoredRows): Promise<number> {
    const {packed: {origin, tiers, pressure, parking}, life} = packedLife(sequence), {sequenceId} = life;
    return await withSequenceLock(sequence, async () => {
        await origin.known();
        const held = await life.between(async () => {
            const tier = tiers.fresh(sequenceId, stored.tokens.length), bring = () => bringBackLocked(life, stored, tier, "The turn can't be restored");
            const held = await pressure.during(life, 0, bring);  // rows of a busy sequence are not given up
            await tiers.renewed(sequenceId, stored.tokens.length, stored.tierDefinition === definitionOf(tier));
            parking?.forget(life);
            endEvaluations(sequence);
            return held;
        });
        const rest = [...stored.tokens.subarray(held)] as Token[];
        if (rest.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(rest, underItsLock);
        return rest.length;
    });
}

/**
 * Replaces a sequence's rows between two batches, while nobody evaluates it. Gives the number of tokens that it holds then. The others have yet to be
 * evaluated.
 * @param tier that the sequence gets
 * @param what the beginning of an error's message
 */
export async function bringBackLocked(life: SequenceLife, stored: StoredRows, tier: Tier, what: string): Promise<number> {
    const {sequenceId} = life, sequence = life.sequence!, handle = addonContextOf(sequence.context), packed = packedOf(handle)!;
    const {native, origin, sharing, pressure} = packed;
    await origin.known();
    const {describedAdapters} = stored, own = describedAdapters === null ? null : await origin.describeAdapters();
    if (describedAdapters !== own) throw new DeltaStoreError("TURN_MODEL_MISMATCH", `The turn was saved with the adapters ${describedAdapters}; the context has ${own}`);
    const before = handle.getSequenceKvCacheMaxPosition(sequenceId);  // none of a parked sequence, which keeps its tokens
    let held: number;
    for (;;) {
        try {
            const {tokens, identities} = await native.restoreSnapshot(handle, sequenceId, tier.name, stored.parts);
            stored.restored(sequence, identities);
            held = tokens;
            break;
        } catch (error) {
            if ((error as {code?: unknown}).code === "POOL_LIMIT_REACHED" && await pressure.giveUp()) continue;
            if (before >= 0 && handle.getSequenceKvCacheMaxPosition(sequenceId) < 0) empty(handle, life);
            throw ofTurn(what, error);
        }
    }
    if (held > stored.tokens.length) {  // the rest are predicted tokens that were not used
        const drops = handle.removeTokenCellsFromSequence(sequenceId, stored.tokens.length, -1);
        if (!drops) handle.disposeSequence(sequenceId);  // a recurrent state can't go back: all is evaluated again
        held = drops ? stored.tokens.length : 0;
    }
    setHeldTokens(sequence, stored.tokens.subarray(0, held));
    forgetPredictions(sequence);
    forgetCheckpoints(sequence);
    sharing?.truncated(sequenceId, 0);
    if (stored.shareable && stored.tierDefinition === definitionOf(tier)) sharing?.appended(sequenceId, 0, stored.tokens.subarray(0, held));
    pressure.touched(life);
    return held;
}

/** What makes a tier's rows. Tiers with the same description have the same rows, whatever their names. */
export function definitionOf({name: _, ...definition}: Tier): string {
    return JSON.stringify(definition);
}

const turnCodes: Partial<Record<string, ErrorCode>> = {
    STATE_DAMAGED: "TURN_DAMAGED", STATE_FOREIGN: "TURN_FOREIGN", STATE_MODEL_MISMATCH: "TURN_MODEL_MISMATCH"
};

function ofTurn(what: string, error: unknown): unknown {
    const typed = toDeltaStoreError(error);
    if (!(typed instanceof DeltaStoreError)) return typed;
    return new DeltaStoreError(turnCodes[typed.code] ?? typed.code, `${what}: ${typed.message}`, {cause: error});
}

async function coded<T>(result: Promise<T>): Promise<T> {
    try {
        return await result;
    } catch (error) {
        throw toDeltaStoreError(error);
    }
}
