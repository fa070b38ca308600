import {DisposedError, type LlamaContext} from "node-llama-cpp";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import {addonContextOf} from "../runtime/contexts.js";
import {partOf, type Decode, type DecodeRequest, type MapLogits} from "../runtime/decode-request.js";
import {heldTokensOf, setHeldTokens} from "../runtime/sequences.js";
import type {Packed} from "./packed.js";
import {cutBack} from "./cut-back.js";
import type {Parking} from "./parking.js";
import type {SequenceLife} from "./sequence-life.js";

/** After so many tries that evaluate no token more than the one before, the request fails. */
const mostIdleTries = 3;

/**
 * Evaluates a request in a packed cache. A prefix that another sequence holds is attached instead of evaluated. Where the pool has no
 * room, room is made, and the rest of the request is evaluated then. On failure the sequence is as it was. One that was parked, and of
 * which the store lost some rows, holds those that came back.
 * @param life whose request it is
 * @param decode node-llama-cpp's own evaluation
 * @throws DisposedError: the sequence was disposed meanwhile
 */
export async function evaluatePacked(context: LlamaContext, packed: Packed, life: SequenceLife, request: DecodeRequest, map: MapLogits,
                                     decode: Decode): Promise<unknown[]> {
    try {
        return await evaluateOpen(context, packed, life, request, map, decode);
    } catch (error) {
        if (life.isOpen) throw error;
        await life.ended;  // the number is free once this rejects
        throw new DisposedError();
    }
}

async function evaluateOpen(context: LlamaContext, packed: Packed, life: SequenceLife, request: DecodeRequest, map: MapLogits,
                            decode: Decode): Promise<unknown[]> {
    const {firstTokenSequenceIndex: first, tokens} = request, {sharing, pressure, tiers, parking} = packed, {sequenceId} = life;
    const handle = addonContextOf(context), end = first + tokens.length;
    /** Once a token's logits are mapped, the request can't be tried again: nothing may be mapped twice. */
    let mapped = false;
    /** Puts a part into the queue in the step that checks the life. So none gets there after the life is closed. */
    const evaluate = async (part: DecodeRequest) => {
        life.ensureOpen();
        return await decode(part, (...of: unknown[]) => {
            mapped = true;
            return map(...of);
        });
    };

    /** Makes room after this error, and gives the rest of the request. Undefined if there is no room to be had: then its rows are gone. */
    const recover = async (code: ErrorCode | undefined, tried: DecodeRequest): Promise<DecodeRequest | undefined> => await life.between(async () => {
        const next = handle.getSequenceKvCacheMaxPosition(sequenceId) + 1;
        if (code === "POOL_LIMIT_REACHED" && !mapped && next >= tried.firstTokenSequenceIndex && next < end && await pressure.makeRoom(life, next))
            return partOf(tried, next - tried.firstTokenSequenceIndex, tried.tokens.length);
        cutBack(handle, life, first);
        return undefined;
    });

    /** Brings a parked sequence back, and evaluates the tokens whose rows the store lost. */
    const comeBack = async (parking: Parking) => {
        const bring = await parking.load(life), lost = await life.between(bring);
        if (lost.length === 0) return;
        const again = {...request, afterBatchAction: undefined, firstTokenSequenceIndex: first - lost.length, tokens: lost, logits: lost.map(() => undefined)};
        await evaluatePacked(context, packed, life, again, () => undefined, decode);
        life.ensureOpen();
        const sequence = life.sequence!;
        setHeldTokens(sequence, [...heldTokensOf(sequence), ...lost]);
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
                if (left !== undefined) await life.between(() => Promise.resolve(cutBack(handle, life, first)));
                if (code === "POOL_LIMIT_REACHED" || code === "OUT_OF_MEMORY") packed.emit({type: "refuse", sequenceId, error: error as DeltaStoreError});
                throw error;
            }
        }
    });
}
