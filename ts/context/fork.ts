import type {LlamaContextSequence} from "node-llama-cpp";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import {withSequenceLock} from "../runtime/context-lock.js";
import {addonContextOf} from "../runtime/contexts.js";
import {copyCheckpoints, forgetPredictions, heldTokensOf, setHeldTokens} from "../runtime/sequences.js";
import {empty} from "./cut-back.js";
import {packedLife} from "./packed-sequence.js";
import {endEvaluations} from "./replacements.js";
import {wake} from "./wake.js";

/**
 * Makes `target` a continuation of the source's first tokens, in place of what it had. Both are sequences of one packed context.
 * @param length tokens that the target gets; asked for between batches
 * @throws DeltaStoreError POOL_LIMIT_REACHED, OUT_OF_MEMORY, DISPOSED, or OPTION_INVALID if the source no longer has the state of its windows and
 *     recurrent layers at that length: the target is as it was. Where a model has windows or recurrent layers and there is no memory, it may be empty
 */
export async function forkSequence(source: LlamaContextSequence, target: LlamaContextSequence, length: () => number): Promise<void> {
    const {packed, life: from} = packedLife(source), {life: to} = packedLife(target), {native, tiers, sharing, pressure, parking, emit} = packed;
    const handle = addonContextOf(source.context);
    await wake(source);
    await withSequenceLock(target, () => to.between(async () => {
        from.ensureNotOver();
        const upTo = length();
        if (source === target) return;
        await parking?.comeBack(from);
        const last = handle.getSequenceKvCacheMaxPosition(to.sequenceId);
        await pressure.during(from, 0, async () => {  // while it is busy, the source is not given up
            for (let failure; (failure = native.forkPrefix(handle, from.sequenceId, to.sequenceId, upTo)) !== null;) {
                const error = new DeltaStoreError(failure.code as ErrorCode, failure.message);
                if (handle.getSequenceKvCacheMaxPosition(to.sequenceId) < last) empty(handle, to);  // a part had no memory
                if (error.code === "OPTION_INVALID") throw error;
                if (await pressure.giveUp()) continue;
                emit({type: "refuse", sequenceId: to.sequenceId, error});
                throw error;
            }
        });
        tiers.emptied(to.sequenceId);
        parking?.forget(to);
        sharing?.copied(from.sequenceId, to.sequenceId, upTo);
        pressure.touched(to);
        endEvaluations(target);
        setHeldTokens(target, heldTokensOf(source).slice(0, upTo));
        forgetPredictions(target);
        copyCheckpoints(source, target, upTo);
    }));
}
