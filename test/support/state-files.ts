import {statSync} from "node:fs";
import {join} from "node:path";
import {DeltaStoreError} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence, LlamaModel} from "node-llama-cpp";
import type {Test} from "tap";
import {generate, randomTokens} from "./engine.js";
import {nextLogits} from "./logits.js";
import {openTiny, unshared} from "./tiny-engine.js";

/** Of every saved state, and what its sequence goes on with. */
export const statePrompt = randomTokens(300, 41), stateMore = randomTokens(12, 42).slice(1);

export const loadState = (sequence: LlamaContextSequence, path: string) => sequence.loadStateFromFile(path, {acceptRisk: true});

/** What saves sequences of a tiny model to files. */
export async function openStateFiles(t: Test) {
    const engine = await openTiny(t, unshared), {store, model} = engine;
    const createContext = (of: LlamaModel, kvCache: string, options: object = {}): Promise<LlamaContext> =>
        of.createContext({contextSize: 512, threads: 1, kvCache, ...options});

    /** A state of the prompt in a file, and the logits of the tokens that go on after it. */
    async function savedState(t: Test, kvCache: string): Promise<{path: string; logits: Float32Array}> {
        const path = join(t.testdir(), "state.bin");
        const context = await createContext(model, kvCache);
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(statePrompt);
        const {fileSize} = await sequence.saveStateToFile(path);
        t.equal(statSync(path).size, fileSize);
        const logits = await nextLogits(sequence, stateMore);
        await context.dispose();
        return {path, logits};
    }

    /** Checks that the file is refused with this code, and that the sequence and its neighbour go on as if nothing had happened. */
    async function refuses(t: Test, name: string, path: string, code: string, context: LlamaContext): Promise<void> {
        const sequence = context.getSequence();
        const neighbour = context.totalSequences > 1 ? context.getSequence() : undefined;
        const tokens = statePrompt.slice(0, 60);  // in the window, so that evaluating the last one again changes nothing
        await neighbour?.evaluateWithoutGeneratingNewTokens(tokens);
        const before = store.stats(context);
        await sequence.evaluateWithoutGeneratingNewTokens(tokens);
        try {
            await loadState(sequence, path);
            t.fail(`${name} was taken`);
        } catch (error) {
            t.type(error, DeltaStoreError);
            t.match(error, {code, message: path}, name);
        }
        t.equal(sequence.nextTokenIndex, 0, "the sequence is empty");
        const after = store.stats(context);
        t.strictSame([after.tokens, after.pages, after.sequences], [before.tokens, before.pages, before.sequences], "and so are its pages");
        const expected = await generate(sequence, tokens, 5);
        if (neighbour !== undefined) {
            await neighbour.eraseContextTokenRanges([{start: 59, end: 60}]);
            t.strictSame(await generate(neighbour, tokens.slice(59), 5), expected);
        }
        await context.dispose();
    }

    return {...engine, createContext, savedState, refuses};
}
