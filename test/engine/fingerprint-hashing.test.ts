import {copyFileSync} from "node:fs";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {MemoryStore} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, handleOf, nativeBinding, rejection} from "../support/engine.js";
import {adapterShape, openFingerprints, otherAdapters, savedPrompt, withLoras} from "../support/fingerprints.js";
import {writeLora} from "../support/lora-writer.js";

t.setTimeout(240_000);

const {store, model, modelPath, load, createContext, contextSequence, ownFile} = await openFingerprints(t);

/** The files that are hashed from now on. @param afterMs how much longer each takes */
async function watchHashing(t: Test, afterMs = 0): Promise<string[]> {
    const native = await nativeBinding(), {hashFile} = native, hashed: string[] = [];
    t.teardown(() => native.hashFile = hashFile);
    native.hashFile = async (path) => {
        hashed.push(path);
        await sleep(afterMs);
        return await hashFile(path);
    };
    return hashed;
}

t.test("files are hashed once, and only if something is saved or restored", async (t) => {
    const hashed = await watchHashing(t), folder = t.testdir({}), path = join(folder, "model.gguf"), adapter = join(folder, "adapter.gguf");
    copyFileSync(modelPath, path);
    await writeLora(adapter, 1, adapterShape);
    const of = await load(path), context = await createContext(of, {sequences: 3, ...withLoras([adapter])});
    const [one, two, three] = [1, 2, 3].map(() => context.getSequence());
    await one!.evaluateWithoutGeneratingNewTokens(savedPrompt);
    await store.fork(one!, two!);
    await store.setTier(two!, "compact");
    await two!.eraseContextTokenRanges([{start: 50, end: 60}]);
    t.ok(store.stats(context).tokens > 0);
    t.ok(context.stateSize > 0, "the size of a state is known without");
    t.strictSame(hashed, []);
    const turns = await store.openTurns({store: new MemoryStore()}), state = join(folder, "state.bin");
    await Promise.all([turns.save("a", one!), turns.save("b", two!), one!.saveStateToFile(state)]);
    await turns.restore("a", three!);
    await three!.loadStateFromFile(state, {acceptRisk: true});
    await turns.save("c", await (async () => {
        const sequence = await contextSequence(of, withLoras([adapter]));
        await turns.restore("b", sequence);
        return sequence;
    })());
    t.strictSame(hashed.sort(), [adapter, path]);
});

t.test("a save that waits for hashing loses nothing, whatever is asked for after it", async (t) => {
    const hashed = await watchHashing(t, 300), turns = await store.openTurns({store: new MemoryStore()}), target = await contextSequence(model);
    for (const [name, after] of Object.entries<(sequence: LlamaContextSequence) => unknown>({
        clear: (sequence) => sequence.clearHistory(), dispose: (sequence) => sequence.dispose(), disposeContext: (sequence) => sequence.context.dispose(),
        disposeModel: (sequence) => sequence.model.dispose()
    })) {
        const {path} = ownFile(t), sequence = await contextSequence(await load(path));
        await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt);
        const saving = turns.save(name, sequence);
        await after(sequence);
        t.equal((await saving).tokens, 200, name);
        t.match(await turns.restore(name, target), {turn: {tokens: 200}, evaluated: 0});
        t.ok(hashed.includes(path));
        if (!sequence.context.disposed) await sequence.context.dispose();
    }
});

t.test("the engine saves and restores nothing without an origin", async (t) => {
    const native = await nativeBinding(), context = await createContext(model, {sequences: 2}), handle = handleOf(context);
    const [one, two] = [context.getSequence(), context.getSequence()];
    await one.evaluateWithoutGeneratingNewTokens(savedPrompt);
    const size = context.stateSize;
    t.ok(size > 10_000);
    t.equal(await codeOf(native.beginSnapshot(handle, 0)), "NATIVE_FAILURE");
    const parts = {head: new Uint8Array(), centres: [], blocks: [], tail: null};
    t.equal(await codeOf(native.restoreSnapshot(handle, 1, "conservative", parts)), "NATIVE_FAILURE");
    for (const bytes of [0, 7, 9]) t.throws(() => native.setOrigin(handle, new Uint8Array(bytes), new Uint8Array(8)), {code: "OPTION_INVALID"});
    native.setOrigin(handle, new Uint8Array(8).fill(1), new Uint8Array(8));
    t.equal(context.stateSize, size);
    const {head, centres, tail, handle: snapshot, blocks} = await native.beginSnapshot(handle, 0);
    const rows = {head, centres, blocks: await native.snapshotBlocks(snapshot, 0, blocks), tail};
    t.match(await native.restoreSnapshot(handle, 1, "conservative", rows), {tokens: 200});
    native.setOrigin(handle, new Uint8Array(8).fill(1), new Uint8Array(8).fill(1));
    t.match(await rejection(native.restoreSnapshot(handle, 1, "conservative", rows)), {code: "STATE_MODEL_MISMATCH", message: otherAdapters});
    native.endSnapshot(snapshot);
    t.equal(two.nextTokenIndex, 0);
    await context.dispose();
});
