import {DisposedError, type LlamaContext} from "node-llama-cpp";
import {DeltaStoreError, type ErrorCode} from "./errors.js";
import type {Packed} from "./packed-context.js";
import {contextInternals, partOf, sequenceInternals, type ContextInternals, type DecodeRequest} from "./runtime-internals.js";
import type {Parking} from "./turns/parking.js";

type Decode = ContextInternals["_decodeTokens"];

/** Tells whether the sequence that has this number now was disposed. Disposal takes a while: it first gives the number back. */
export function goneSince(context: LlamaContext, {generations}: Packed, sequenceId: number): () => boolean {
    const {_unusedSequenceIds: unused} = contextInternals(context), generation = generations.get(sequenceId), gone = unused.includes(sequenceId);
    return () => gone || unused.includes(sequenceId) || generations.get(sequenceId) !== generation;
}

/** Tries that come no further than the one before them. */
const mostIdleTries = 3;

/**
 * Evaluates a request in a packed cache. What another sequence holds is attached instead; where the pool has no room, some is made, and what
 * is left is evaluated then. On failure the sequence is as it was, or,
 * where it was parked and the store had lost some of it, holds what came back.
 * @param between runs its argument between two batches
 * @throws DisposedError if the sequence was disposed meanwhile
 */
export async function evaluatePacked(context: LlamaContext, packed: Packed, request: DecodeRequest, map: (...of: unknown[]) => unknown, decode: Decode,
                                     between: <R>(work: () => Promise<R>) => Promise<R>): Promise<unknown[]> {
    const {sequenceId, firstTokenSequenceIndex: first, tokens} = request, {sharing, pressure, tiers} = packed;
    const {_ctx: handle} = contextInternals(context), gone = goneSince(context, packed, sequenceId), end = first + tokens.length;
    // What it was called for must not be asked of it again.
    let mapped = false;
    const evaluate = (part: DecodeRequest) => decode.call(contextInternals(context), part, (...of: unknown[]) => {
        mapped = true;
        return map(...of);
    });

    /** What is left to do after this error; undefined if there is no room to be had. */
    const recover = async (code: ErrorCode | undefined, tried: DecodeRequest): Promise<DecodeRequest | undefined> => await between(async () => {
        if (gone()) throw new DisposedError();
        const next = handle.getSequenceKvCacheMaxPosition(sequenceId) + 1;
        if (code === "POOL_LIMIT_REACHED" && !mapped && next >= tried.firstTokenSequenceIndex && next < end && await pressure.makeRoom(sequenceId, next))
            return partOf(tried, next - tried.firstTokenSequenceIndex, tried.tokens.length);
        handle.removeTokenCellsFromSequence(sequenceId, first, -1);
        return undefined;
    });

    /** Of a parked sequence: what does not come back is evaluated again. */
    const comeBack = async (parking: Parking) => {
        const loaded = await parking.load(sequenceId).catch(() => null), lost = await between(async () => {
            if (gone()) throw new DisposedError();
            return await parking.comeBackInPart(sequenceId, loaded);
        });
        if (lost.length === 0) return;
        const {afterBatchAction: _, ...others} = request as DecodeRequest & {afterBatchAction?: unknown};
        const again = {...others, firstTokenSequenceIndex: first - lost.length, tokens: lost, logits: lost.map(() => undefined)};
        await evaluatePacked(context, packed, again, () => undefined, decode, between);
        if (gone()) throw new DisposedError();
        const internals = sequenceInternals(packed.sequences.get(sequenceId)!.deref()!);
        internals._contextTokens = internals._contextTokens.concat(lost);
        internals._nextTokenIndex = first;
    };

    packed.parking?.changing(sequenceId);
    return await pressure.during(sequenceId, end, async () => {
        let rest = request;
        const {parking} = packed;
        if (parking?.has(sequenceId)) await parking.waking(sequenceId, () => comeBack(parking));
        for (let idleTries = 0; ;) {
            try {
                if (gone()) throw new DisposedError();  // between a gap and here
                const results = sharing?.worthwhile(rest) === true ? await sharing.evaluate(rest, evaluate, between, gone) : await evaluate(rest);
                if (tiers.isDue(sequenceId, end)) await between(async () => {
                    if (!gone()) await tiers.heed(sequenceId, end);
                });
                if (!gone()) pressure.touched(sequenceId);
                return results;
            } catch (error) {
                if (gone()) throw new DisposedError();
                const code = error instanceof DeltaStoreError ? error.code : undefined;
                if (context.disposed || code === "DISPOSED") throw error;
                const left = await recover(code, rest);
                const further = left !== undefined && left.firstTokenSequenceIndex > rest.firstTokenSequenceIndex;
                idleTries = further ? 0 : idleTries + 1;
                if (left !== undefined && idleTries <= mostIdleTries) {
                    rest = left;
                    continue;
                }
                if (left !== undefined) await between(() => Promise.resolve(handle.removeTokenCellsFromSequence(sequenceId, first, -1)));
                if (code === "POOL_LIMIT_REACHED" || code === "OUT_OF_MEMORY") packed.emit({type: "refuse", sequenceId, error: error as DeltaStoreError});
                throw error;
            }
        }
    });
}
