import type {LlamaContextSequence} from "node-llama-cpp";
import {withSequenceLock} from "../runtime/context-lock.js";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import {packedLife} from "./packed-sequence.js";
import {endEvaluations} from "./patch-runtime.js";
import {contextInternals, sequenceInternals} from "../runtime/internals.js";
import {wake} from "./wake.js";

/**
 * Makes `target` a continuation of the source's first tokens, in place of what it had. Both are sequences of one packed context.
 * @param length of what the target gets, in tokens; asked for between batches
 * @throws DeltaStoreError POOL_LIMIT_REACHED, OUT_OF_MEMORY, DISPOSED: the target is as it was
 */
export async function forkSequence(source: LlamaContextSequence, target: LlamaContextSequence, length: () => number): Promise<void> {
    const {packed, life: from} = packedLife(source), {life: to} = packedLife(target), {native, tiers, sharing, pressure, parking, emit} = packed;
    const {_ctx: handle} = contextInternals(source.context), [giving, taking] = [sequenceInternals(source), sequenceInternals(target)];
    await wake(source);
    await withSequenceLock(target, () => to.between(async () => {
        from.ensureNotOver();
        const upTo = length();
        if (source === target) return;
        await parking?.comeBack(from);
        tiers.emptied(to.sequenceId);
        await pressure.during(from, 0, async () => {  // the source is not what is given up
            for (let failure; (failure = native.forkPrefix(handle, from.sequenceId, to.sequenceId, upTo)) !== null;) {
                if (await pressure.giveUp()) continue;
                const error = new DeltaStoreError(failure.code as ErrorCode, failure.message);
                emit({type: "refuse", sequenceId: to.sequenceId, error});
                throw error;
            }
        });
        parking?.forget(to);
        sharing?.copied(from.sequenceId, to.sequenceId, upTo);
        pressure.touched(to);
        endEvaluations(target);
        taking._contextTokens = giving._contextTokens.slice(0, upTo);
        taking._nextTokenIndex = upTo;
        taking._loadedTokenPredictions = [];
    }));
}
