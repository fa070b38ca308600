import {DisposedError, type LlamaContext} from "node-llama-cpp";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import type {Packed} from "./packed.js";
import {contextInternals, partOf, sequenceInternals, type ContextInternals, type DecodeRequest} from "../runtime/internals.js";
import type {SequenceLife} from "./sequence-life.js";
import type {Parking} from "../turns/parking.js";

type Decode = ContextInternals["_decodeTokens"];

/** Tries that come no further than the one before them. */
const mostIdleTries = 3;

/**
 * Evaluates a request in a packed cache. What another sequence holds is attached instead; where the pool has no room, some is made, and what
 * is left is evaluated then. On failure the sequence is as it was, or,
 * where it was parked and the store had lost some of it, holds what came back.
 * @param life whose request it is
 * @throws DisposedError if the sequence was disposed meanwhile
 */
export async function evaluatePacked(context: LlamaContext, packed: Packed, life: SequenceLife, request: DecodeRequest, map: (...of: unknown[]) => unknown,
                                     decode: Decode): Promise<unknown[]> {
    try {
        return await evaluateOpen(context, packed, life, request, map, decode);
    } catch (error) {
        if (life.isOpen) throw error;
        await life.ended;  // whoever has waited for this can have the number
        throw new DisposedError();
    }
}

async function evaluateOpen(context: LlamaContext, packed: Packed, life: SequenceLife, request: DecodeRequest, map: (...of: unknown[]) => unknown,
                            decode: Decode): Promise<unknown[]> {
    const {firstTokenSequenceIndex: first, tokens} = request, {sharing, pressure, tiers, parking} = packed, {sequenceId} = life;
    const {_ctx: handle} = contextInternals(context), end = first + tokens.length;
    // What it was called for must not be asked of it again.
    let mapped = false;
    /** Puts a part into the queue at once, so that none comes there after the life was closed. */
    const evaluate = async (part: DecodeRequest) => {
        life.ensureOpen();
        return await decode.call(contextInternals(context), part, (...of: unknown[]) => {
            mapped = true;
            return map(...of);
        });
    };

    /** What is left to do after this error; undefined if there is no room to be had. */
    const recover = async (code: ErrorCode | undefined, tried: DecodeRequest): Promise<DecodeRequest | undefined> => await life.between(async () => {
        const next = handle.getSequenceKvCacheMaxPosition(sequenceId) + 1;
        if (code === "POOL_LIMIT_REACHED" && !mapped && next >= tried.firstTokenSequenceIndex && next < end && await pressure.makeRoom(life, next))
            return partOf(tried, next - tried.firstTokenSequenceIndex, tried.tokens.length);
        handle.removeTokenCellsFromSequence(sequenceId, first, -1);
        return undefined;
    });

    /** Of a parked sequence: what does not come back is evaluated again. */
    const comeBack = async (parking: Parking) => {
        const loaded = await parking.load(life).catch(() => null), lost = await life.between(() => parking.comeBackInPart(life, loaded));
        if (lost.length === 0) return;
        const again = {...request, afterBatchAction: undefined, firstTokenSequenceIndex: first - lost.length, tokens: lost, logits: lost.map(() => undefined)};
        await evaluatePacked(context, packed, life, again, () => undefined, decode);
        life.ensureOpen();
        const internals = sequenceInternals(life.sequence!);
        internals._contextTokens = internals._contextTokens.concat(lost);
        internals._nextTokenIndex = first;
    };

    life.ensureOpen();
    parking?.changing(life);
    return await pressure.during(life, end, async () => {
        let rest = request;
        if (parking?.has(life)) await parking.waking(life, () => comeBack(parking));
        for (let idleTries = 0; ;) {
            try {
                const results = sharing?.worthwhile(rest) === true ? await sharing.evaluate(life, rest, evaluate) : await evaluate(rest);
                if (life.isOpen && tiers.isDue(sequenceId, end)) await life.between(() => tiers.heed(sequenceId, end));
                if (life.isOpen) pressure.touched(life);
                return results;
            } catch (error) {
                const code = error instanceof DeltaStoreError ? error.code : undefined;
                if (!life.isOpen || context.disposed || code === "DISPOSED") throw error;
                const left = await recover(code, rest);
                const further = left !== undefined && left.firstTokenSequenceIndex > rest.firstTokenSequenceIndex;
                idleTries = further ? 0 : idleTries + 1;
                if (left !== undefined && idleTries <= mostIdleTries) {
                    rest = left;
                    continue;
                }
                if (left !== undefined) await life.between(() => Promise.resolve(handle.removeTokenCellsFromSequence(sequenceId, first, -1)));
                if (code === "POOL_LIMIT_REACHED" || code === "OUT_OF_MEMORY") packed.emit({type: "refuse", sequenceId, error: error as DeltaStoreError});
                throw error;
            }
        }
    });
}
