import {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {withContextLock} from "./context-lock.js";
import {DeltaStoreError} from "./errors.js";
import {evaluatePacked} from "./evaluation.js";
import {packedOf} from "./packed-context.js";
import {contextInternals, type SequenceInternals} from "./runtime-internals.js";
import {wake} from "./turns/wake.js";

/** Runs `work` while nothing else changes, evaluates or disposes a context with a packed cache. */
export async function betweenBatches<T>(context: LlamaContext, work: () => Promise<T>): Promise<T> {
    return await packedOf(contextInternals(context)._ctx)!.between.run((once) => withContextLock(context, async () => {
        if (context.disposed) throw new DeltaStoreError("DISPOSED", "The context is disposed");
        const alive = contextInternals(context)._backendContextDisposeGuard.createPreventDisposalHandle();
        try {
            await once();
        } finally {
            alive.dispose();
        }
    }), work);
}

/** How often other tokens have taken the place of a sequence's. */
const replacements = new WeakMap<object, number>();

/** The sequence holds other tokens now: what its evaluations under way go on with doesn't belong behind them. */
export function endEvaluations(sequence: LlamaContextSequence): void {
    replacements.set(sequence, (replacements.get(sequence) ?? 0) + 1);
}

let patched = false;

/** What packed contexts do otherwise than node-llama-cpp's. Once a process. */
export function patchRuntime(): void {
    if (patched) return;
    patched = true;
    const prototype = LlamaContext.prototype as unknown as ReturnType<typeof contextInternals>;
    const decodeTokens = prototype._decodeTokens;
    prototype._decodeTokens = async function (request, map) {
        const context = this as unknown as LlamaContext, packed = packedOf(this._ctx);
        if (packed === undefined) return await decodeTokens.call(this, request, map);
        return await evaluatePacked(context, packed, request, map, decodeTokens, (work) => betweenBatches(context, work));
    };

    // A sequence takes over the other's tokens before its rows are copied; without the rows it must not keep them.
    const sequences = LlamaContextSequence.prototype as unknown as SequenceInternals;
    const copyState = sequences._copyStateFromOtherSequence;
    sequences._copyStateFromOtherSequence = async function (other, upToTokenIndex) {
        try {
            return await copyState.call(this, other, upToTokenIndex);
        } catch (error) {
            if (error instanceof DeltaStoreError) {
                this._contextTokens = [];
                this._nextTokenIndex = 0;
            }
            throw error;
        }
    };

    // Under the sequence's lock, in each step of an evaluation, with the same object for its context shift.
    const decodeStep = sequences._decodeTokens, begunAt = new WeakMap<object, number>();
    sequences._decodeTokens = async function (tokens, logits, priority, meter, contextShift, ...others) {
        const now = replacements.get(this) ?? 0;
        if ((begunAt.get(contextShift) ?? now) !== now)
            throw new DeltaStoreError("OPTION_INVALID", "The evaluation can't go on: store.fork or a restored turn has put other tokens in place of those that it went on from");
        begunAt.set(contextShift, now);
        return await decodeStep.call(this, tokens, logits, priority, meter, contextShift, ...others);
    };

    const erase = sequences._eraseContextTokenRanges;
    sequences._eraseContextTokenRanges = async function (ranges, options = {}) {
        const drops = (ranges as {start: number; end: number}[]).some(({start, end}) => start !== end && Math.min(start, end) <= 0);
        // Where the first token goes, node-llama-cpp empties the sequence and evaluates what is left.
        if (!drops) await wake(this as unknown as LlamaContextSequence, (options as {skipLock?: boolean}).skipLock);
        await erase.call(this, ranges, options);
    };

    const saveState = LlamaContextSequence.prototype.saveStateToFile;
    LlamaContextSequence.prototype.saveStateToFile = async function (path) {
        if (!this.disposed) {
            await packedOf(contextInternals(this.context)._ctx)?.origin.known();  // once, files are hashed: not while the context is held
            await wake(this);
        }
        return await saveState.call(this, path);
    };

    const loadState = LlamaContextSequence.prototype.loadStateFromFile;
    LlamaContextSequence.prototype.loadStateFromFile = async function (path, acceptRisk) {
        if (!this.disposed) await packedOf(contextInternals(this.context)._ctx)?.origin.known();
        return await loadState.call(this, path, acceptRisk);
    };

    // The number of a disposed sequence comes back between batches, not only once nothing at all is left to evaluate.
    const reclaim = prototype._reclaimUnusedSequenceId;
    prototype._reclaimUnusedSequenceId = async function (sequenceId) {
        const context = this as unknown as LlamaContext, packed = packedOf(this._ctx);
        if (packed === undefined || context.disposed) return await reclaim.call(this, sequenceId);
        const done = await betweenBatches(context, () => {
            if (this._queuedDecodeSequenceIds.has(sequenceId)) return Promise.resolve(false);
            this._ctx.disposeSequence(sequenceId);
            this._unusedSequenceIds.push(sequenceId);
            this._onReclaimUnusedSequenceId.dispatchEvent();
            return Promise.resolve(true);
        }).catch(() => context.disposed);
        if (!done) await reclaim.call(this, sequenceId);
    };
}
