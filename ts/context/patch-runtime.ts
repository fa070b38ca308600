import {inspect} from "node:util";
import {DisposedError, LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import {invalid} from "../options.js";
import {betweenBatches} from "../runtime/between-batches.js";
import {withContextLock} from "../runtime/context-lock.js";
import {addonContextOf} from "../runtime/contexts.js";
import type {AfterBatchAction} from "../runtime/decode-request.js";
import type {ContextInternals, SequenceInternals} from "../runtime/internals.js";
import {pruneCheckpoints} from "../runtime/sequences.js";
import {evaluatePacked} from "./evaluation.js";
import {forkSequence} from "./fork.js";
import {packedOf} from "./packed.js";
import {replacementsOf} from "./replacements.js";
import {lifeOf, type SequenceLife} from "./sequence-life.js";
import {restoringFor} from "./restoring.js";
import {sleeps, wake} from "./wake.js";

/** node-llama-cpp hands a sequence's requests to the context by the sequence's number. This goes along, and says whose a request is. */
type Presented = AfterBatchAction & {readonly life: SequenceLife};

function present(life: SequenceLife, action: AfterBatchAction | undefined): Presented {
    return Object.assign((sequenceStateLength: number) => action?.(sequenceStateLength), {life});
}

/** The first token that ranges erase; infinity if they erase none. */
function firstErased(ranges: readonly {start: number; end: number}[] | undefined): number {
    return Math.min(...(ranges ?? []).filter(({start, end}) => start !== end).map(({start, end}) => Math.min(start, end)));
}

function requirePath(method: string, path: unknown): void {
    if (typeof path !== "string" || path === "") throw invalid(`${method}'s path is ${inspect(path, {depth: 0})}; allowed is the path of a file`);
}

let patched = false;

/** Makes the methods of contexts and sequences do what packed contexts need. Stock contexts keep node-llama-cpp's. Once a process. */
export function patchRuntime(): void {
    if (patched) return;
    patched = true;
    const prototype = LlamaContext.prototype as unknown as ContextInternals;
    const decodeTokens = prototype._decodeTokens;
    prototype._decodeTokens = async function (request, map) {
        const context = this as unknown as LlamaContext, packed = packedOf(this._ctx);
        if (packed === undefined) return await decodeTokens.call(this, request, map);
        const {life} = request.afterBatchAction as Presented;
        return await evaluatePacked(context, packed, life, request, map, (part, mapPart) => decodeTokens.call(this, part, mapPart));
    };

    const sequences = LlamaContextSequence.prototype as unknown as SequenceInternals;
    const copyState = sequences._copyStateFromOtherSequence;
    if (copyState !== undefined) sequences._copyStateFromOtherSequence = async function (other, upToTokenIndex) {
        const source = other as LlamaContextSequence, target = this as unknown as LlamaContextSequence;
        if (lifeOf(target) === undefined) return await copyState.call(this, other, upToTokenIndex);
        if (source !== target) await forkSequence(source, target, () => Math.min(upToTokenIndex, source.nextTokenIndex));
        return target.nextTokenIndex === upToTokenIndex;
    };

    // Each step of an evaluation calls this, under the sequence's lock, and with the same `contextShift` object: that tells which evaluation it is.
    const decodeStep = sequences._decodeTokens, begunAt = new WeakMap<object, number>();
    sequences._decodeTokens = async function (tokens, logits, priority, meter, contextShift, map, afterBatchAction) {
        const life = lifeOf(this as unknown as LlamaContextSequence);
        if (life === undefined) return await decodeStep.call(this, tokens, logits, priority, meter, contextShift, map, afterBatchAction);
        if (!life.isOpen) {
            await life.ended;
            throw new DisposedError();
        }
        const now = replacementsOf(this as unknown as LlamaContextSequence);
        if ((begunAt.get(contextShift) ?? now) !== now)
            throw invalid("The evaluation can't go on: store.fork or a restored turn has replaced the tokens before it");
        begunAt.set(contextShift, now);
        return await decodeStep.call(this, tokens, logits, priority, meter, contextShift, map, present(life, afterBatchAction));
    };

    // Erases in this very call where it can: callers of node-llama-cpp see the new length at once.
    const eraseRanges = sequences._eraseContextTokenRanges;
    sequences._eraseContextTokenRanges = function (ranges, options = {}) {
        const sequence = this as unknown as LlamaContextSequence, life = lifeOf(sequence);
        if (life === undefined) return eraseRanges.call(this, ranges, options);
        const wasOpen = life.isOpen, from = firstErased(ranges as {start: number; end: number}[]);
        const erase = () => {
            pruneCheckpoints(sequence, from);
            return restoringFor.run({sequenceId: this._sequenceId, from}, () => eraseRanges.call(this, ranges, options));
        };
        // When the first token goes, node-llama-cpp empties the sequence and evaluates the rest. Then nothing needs to come back.
        const erasing = from <= 0 || !sleeps(sequence) ? erase() : wake(sequence, (options as {skipLock?: boolean}).skipLock).then(erase);
        return erasing.catch((error: unknown) => {
            // A disposal that was asked for later was done first. Nothing is left to erase.
            if (!(wasOpen && !life.isOpen && error instanceof DisposedError)) throw error;
        });
    };

    const saveState = LlamaContextSequence.prototype.saveStateToFile;
    LlamaContextSequence.prototype.saveStateToFile = async function (path) {
        if (lifeOf(this) !== undefined) requirePath("saveStateToFile", path);
        if (!this.disposed) {
            await packedOf(addonContextOf(this.context))?.origin.known();  // the first time it hashes files: not while the context is held
            await wake(this);
        }
        return await saveState.call(this, path);
    };

    const loadState = LlamaContextSequence.prototype.loadStateFromFile;
    LlamaContextSequence.prototype.loadStateFromFile = async function (path, acceptRisk) {
        if (lifeOf(this) !== undefined) requirePath("loadStateFromFile", path);
        packedOf(addonContextOf(this.context))?.origin.begin();  // not awaited: what the app asks for next must come after this load
        return await loadState.call(this, path, acceptRisk);
    };

    // A disposed sequence's number is free after the batch under way. node-llama-cpp would wait until nothing at all is left to evaluate.
    const reclaim = prototype._reclaimUnusedSequenceId;
    prototype._reclaimUnusedSequenceId = function (sequenceId) {
        const context = this as unknown as LlamaContext, packed = packedOf(this._ctx), life = packed?.lives.at(sequenceId);
        if (life === undefined) return reclaim.call(this, sequenceId);
        life.close();
        this._dispatchErrorForQueuedDecodesAndDequeue(new Set(this._queuedDecodes.filter((request) => request.sequenceId === sequenceId)), new DisposedError());
        // Work that was asked for before, such as a turn's capture, is done before the rows go.
        const {lives, between} = packed!;
        const reclaiming = context.disposed ? between.run((once) => withContextLock(context, once), () => Promise.resolve()) : betweenBatches(context, between, () => {
            this._ctx.disposeSequence(sequenceId);
            lives.end(sequenceId);
            this._unusedSequenceIds.push(sequenceId);
            this._onReclaimUnusedSequenceId.dispatchEvent();
            return Promise.resolve();
        });
        return reclaiming.catch((error: unknown) => {
            if (!context.disposed) throw error;
        }).finally(() => life.end());
    };
}
