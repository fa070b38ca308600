import {copyFileSync, existsSync, renameSync} from "node:fs";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {MemoryStore, type Turns} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence, LlamaModel} from "node-llama-cpp";
import type {Test} from "tap";
import {changedCopy} from "./changed-gguf.js";
import {randomTokens, rejection} from "./engine.js";
import {nextLogits} from "./logits.js";
import {writeLora} from "./lora-writer.js";
import {openTiny, unshared} from "./tiny-engine.js";
import {storeFolder} from "./turns.js";

/** The tokens of every saved sequence. */
export const savedPrompt = randomTokens(200, 1);

export const otherWeights = "was made with other weights, or other metadata of the model";
export const otherAdapters = /was made with other adapters \(LoRA\), or other scales of them$/;

export interface Saved {
    readonly path: string;
    readonly turns: Turns;
}

/** What saves a sequence as a state file and as a turn, and tells which contexts take both. */
export async function openFingerprints(t: Test) {
    const {llama, store, model, modelPath} = await openTiny(t, unshared);

    const load = (path: string, metadataOverrides?: object): Promise<LlamaModel> =>
        llama.loadModel({modelPath: path, gpuLayers: 0, metadataOverrides} as Parameters<typeof llama.loadModel>[0]);
    const createContext = (of: LlamaModel, options: object = {}): Promise<LlamaContext> =>
        of.createContext({contextSize: 512, threads: 1, flashAttention: true, kvCache: "conservative", ...options});
    const contextSequence = async (of: LlamaModel, options: object = {}): Promise<LlamaContextSequence> => (await createContext(of, options)).getSequence();

    /** A state file and a turn of the prompt. */
    async function save(t: Test, of: LlamaModel, options: object = {}): Promise<Saved> {
        const path = join(storeFolder(t), "state.bin"), turns = await store.openTurns({store: new MemoryStore()}), sequence = await contextSequence(of, options);
        await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt);
        await sequence.saveStateToFile(path);
        await turns.save("anna", sequence);
        await sequence.context.dispose();
        return {path, turns};
    }

    async function takes(t: Test, what: string, {path, turns}: Saved, of: LlamaModel, options: object = {}): Promise<void> {
        const context = await createContext(of, {...options, sequences: 2, contextSize: 1024}), [first, second] = [context.getSequence(), context.getSequence()];
        await first.loadStateFromFile(path, {acceptRisk: true});
        await turns.restore("anna", second);
        t.strictSame([first.nextTokenIndex, second.nextTokenIndex], [200, 200], what);
        await context.dispose();
    }

    /** Checks that a context refuses both. @param words of both errors */
    async function refuses(t: Test, what: string, {path, turns}: Saved, of: LlamaModel, words: string | RegExp, options: object = {}): Promise<void> {
        const sequence = await contextSequence(of, options);
        await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt.slice(0, 20));
        const turn = await rejection(turns.restore("anna", sequence));
        t.match(turn, {name: "DeltaStoreError", code: "TURN_MODEL_MISMATCH", message: words}, `${what}: a turn`);
        t.equal(sequence.nextTokenIndex, 20);
        const state = await rejection(sequence.loadStateFromFile(path, {acceptRisk: true}));
        t.match(state, {name: "DeltaStoreError", code: "STATE_MODEL_MISMATCH", message: words}, `${what}: a state file`);
        t.match(state.message, path);
        t.equal(sequence.nextTokenIndex, 0);
        await sequence.context.dispose();
    }

    /** A file of its own of the model, and another model under its name. */
    function ownFile(t: Test): {path: string; replace(): void} {
        const folder = storeFolder(t), path = join(folder, "model.gguf"), other = join(folder, "other.gguf");
        copyFileSync(modelPath, path);
        return {path, replace: () => {
            changedCopy(modelPath, other, "blk.1.attn_v.weight");
            renameSync(other, path);
        }};
    }

    /** Checks that nothing of the sequence is saved, that nothing is restored into it, and that it goes on. */
    async function isOnItsOwn(t: Test, {path, turns}: Saved, sequence: LlamaContextSequence, error: {code: string; message: RegExp}): Promise<void> {
        await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt);
        for (const [what, attempt] of Object.entries({
            save: () => turns.save("bert", sequence), restore: () => turns.restore("anna", sequence),
            saveStateToFile: () => sequence.saveStateToFile(`${path}.new`)
        })) t.match(await rejection(attempt()), {name: "DeltaStoreError", ...error}, what);
        t.equal(sequence.nextTokenIndex, 200);
        t.match(await rejection(sequence.loadStateFromFile(path, {acceptRisk: true})), {name: "DeltaStoreError", ...error});
        t.equal(sequence.nextTokenIndex, 0, "as after any state file that is refused");
        t.ok((await nextLogits(sequence, randomTokens(3, 2).slice(1))).every(Number.isFinite));
        t.strictSame((await turns.list()).map(({name}) => name), ["anna"]);
        t.notOk(existsSync(`${path}.new`));
    }

    return {llama, store, model, modelPath, load, createContext, contextSequence, save, takes, refuses, ownFile, isOnItsOwn};
}

/** Until a file that changes has another time: the clock of files has ticks. */
export const tick = () => sleep(20);

/** The shape of the tiny model that adapters are written for. */
export const adapterShape = {kvHeads: 2, headLength: 128};

/** Two adapters of the same name and size. */
export async function loras(t: Test): Promise<{one: string; other: string}> {
    const folder = t.testdir({one: {}, other: {}}), [one, other] = [join(folder, "one/adapter.gguf"), join(folder, "other/adapter.gguf")];
    await writeLora(one, 1, adapterShape);
    await writeLora(other, 2, adapterShape);
    return {one, other};
}

/** Options of a context with these adapters. */
export const withLoras = (...adapters: [filePath: string, scale?: number][]) =>
    ({lora: {adapters: adapters.map(([filePath, scale]) => ({filePath, ...scale === undefined ? {} : {scale}}))}});
