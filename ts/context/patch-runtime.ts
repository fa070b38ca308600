import {inspect} from "node:util";
import {DisposedError, LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {betweenBatches} from "../runtime/between-batches.js";
import {withContextLock} from "../runtime/context-lock.js";
import {DeltaStoreError} from "../errors.js";
import {evaluatePacked} from "./evaluation.js";
import {forkSequence} from "./fork.js";
import {invalid} from "../options.js";
import {packedOf} from "./packed.js";
import {contextInternals, type AfterBatchAction, type SequenceInternals} from "../runtime/internals.js";
import {lifeOf, type SequenceLife} from "./sequence-life.js";
import {sleeps, wake} from "./wake.js";

/** How often other tokens have taken the place of a sequence's. */
const replacements = new WeakMap<object, number>();

/** The sequence holds other tokens now: what its evaluations under way go on with doesn't belong behind them. */
export function endEvaluations(sequence: LlamaContextSequence): void {
    replacements.set(sequence, (replacements.get(sequence) ?? 0) + 1);
}

/** Node-llama-cpp hands a sequence's requests to its context by number. This goes along with them, and says whose they are. */
type Presented = AfterBatchAction & {readonly life: SequenceLife};

function present(life: SequenceLife, action: AfterBatchAction | undefined): Presented {
    return Object.assign((sequenceStateLength: number) => action?.(sequenceStateLength), {life});
}

function requirePath(method: string, path: unknown): void {
    if (typeof path !== "string" || path === "") throw invalid(`${method}'s path is ${inspect(path, {depth: 0})}; allowed is the path of a file`);
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
        const {life} = request.afterBatchAction as Presented;
        return await evaluatePacked(context, packed, life, request, map, decodeTokens);
    };

    const sequences = LlamaContextSequence.prototype as unknown as SequenceInternals;
    const copyState = sequences._copyStateFromOtherSequence;
    sequences._copyStateFromOtherSequence = async function (other, upToTokenIndex) {
        const source = other as LlamaContextSequence, target = this as unknown as LlamaContextSequence;
        if (lifeOf(target) === undefined) return await copyState.call(this, other, upToTokenIndex);
        if (source !== target) await forkSequence(source, target, () => Math.min(upToTokenIndex, source.nextTokenIndex));
        return target.nextTokenIndex === upToTokenIndex;
    };

    // Under the sequence's lock, in each step of an evaluation, with the same object for its context shift.
    const decodeStep = sequences._decodeTokens, begunAt = new WeakMap<object, number>();
    sequences._decodeTokens = async function (tokens, logits, priority, meter, contextShift, map, afterBatchAction) {
        const life = lifeOf(this as unknown as LlamaContextSequence);
        if (life === undefined) return await decodeStep.call(this, tokens, logits, priority, meter, contextShift, map, afterBatchAction);
        if (!life.isOpen) {
            await life.ended;
            throw new DisposedError();
        }
        const now = replacements.get(this) ?? 0;
        if ((begunAt.get(contextShift) ?? now) !== now)
            throw new DeltaStoreError("OPTION_INVALID", "The evaluation can't go on: store.fork or a restored turn has put other tokens in place of those that it went on from");
        begunAt.set(contextShift, now);
        return await decodeStep.call(this, tokens, logits, priority, meter, contextShift, map, present(life, afterBatchAction));
    };

    // At once where it can: node-llama-cpp tells the new length as soon as it is called.
    const erase = sequences._eraseContextTokenRanges;
    sequences._eraseContextTokenRanges = function (ranges, options = {}) {
        const sequence = this as unknown as LlamaContextSequence, life = lifeOf(sequence);
        if (life === undefined) return erase.call(this, ranges, options);
        const wasOpen = life.isOpen;
        // Where the first token goes, node-llama-cpp empties the sequence and evaluates what is left.
        const drops = (ranges as {start: number; end: number}[] | undefined)?.some(({start, end}) => start !== end && Math.min(start, end) <= 0);
        const erasing = drops === true || !sleeps(sequence) ? erase.call(this, ranges, options)
            : wake(sequence, (options as {skipLock?: boolean}).skipLock).then(() => erase.call(this, ranges, options));
        return erasing.catch((error: unknown) => {
            // A disposal that was asked for later came first: there is nothing left to erase.
            if (!(wasOpen && !life.isOpen && error instanceof DisposedError)) throw error;
        });
    };

    const saveState = LlamaContextSequence.prototype.saveStateToFile;
    LlamaContextSequence.prototype.saveStateToFile = async function (path) {
        if (lifeOf(this) !== undefined) requirePath("saveStateToFile", path);
        if (!this.disposed) {
            await packedOf(contextInternals(this.context)._ctx)?.origin.known();  // once, files are hashed: not while the context is held
            await wake(this);
        }
        return await saveState.call(this, path);
    };

    const loadState = LlamaContextSequence.prototype.loadStateFromFile;
    LlamaContextSequence.prototype.loadStateFromFile = async function (path, acceptRisk) {
        if (lifeOf(this) !== undefined) requirePath("loadStateFromFile", path);
        packedOf(contextInternals(this.context)._ctx)?.origin.begin();  // not awaited: what is asked for after this comes after it
        return await loadState.call(this, path, acceptRisk);
    };

    // The number of a disposed sequence comes back as soon as no batch is computed, not only once nothing at all is left to evaluate.
    const reclaim = prototype._reclaimUnusedSequenceId;
    prototype._reclaimUnusedSequenceId = function (sequenceId) {
        const context = this as unknown as LlamaContext, packed = packedOf(this._ctx), life = packed?.lives.at(sequenceId);
        if (life === undefined) return reclaim.call(this, sequenceId);
        life.close();
        this._dispatchErrorForQueuedDecodesAndDequeue(new Set(this._queuedDecodes.filter((request) => request.sequenceId === sequenceId)), new DisposedError());
        // Its tokens are there until what was asked for before, a turn's capture, is done.
        const reclaiming = context.disposed ? packed!.between.run((once) => withContextLock(context, once), () => Promise.resolve()) : betweenBatches(context, () => {
            this._ctx.disposeSequence(sequenceId);
            packed!.lives.end(sequenceId);
            this._unusedSequenceIds.push(sequenceId);
            this._onReclaimUnusedSequenceId.dispatchEvent();
            return Promise.resolve();
        });
        return reclaiming.catch((error: unknown) => {
            if (!context.disposed) throw error;
        }).finally(() => life.end());
    };
}
