import {copyFileSync, existsSync, renameSync, rmSync, symlinkSync} from "node:fs";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {attach, MemoryStore, type StoreEvent} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence, LlamaModel} from "node-llama-cpp";
import t, {type Test} from "tap";
import {changedCopy, flipBit, tensorPlaces} from "../support/changed-gguf.js";
import {codeOf, handleOf, nativeBinding, openLlama, randomTokens, rejection} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {writeLora} from "../support/lora-writer.js";
import {splitGguf} from "../support/split-gguf.js";
import {llama as llamaArchitecture, longRope} from "../support/tiny-architectures.js";
import {TinyModelWriter} from "../support/tiny-model-writer.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {goOn, isWell, nextLogits, sameLogits, settled, storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const llama = await openLlama(), store = await attach(llama, {policy: {sharing: {automatic: false}}});
const modelPath = await tinyModelPath(tinyModel("llama-head-128"));
const load = (path: string, metadataOverrides?: object): Promise<LlamaModel> =>
    llama.loadModel({modelPath: path, gpuLayers: 0, metadataOverrides} as Parameters<typeof llama.loadModel>[0]);
const model = await load(modelPath), shape = {kvHeads: 2, headLength: 128};
t.teardown(() => llama.dispose());

const prompt = randomTokens(200, 1);
const createContext = (of: LlamaModel, options: object = {}): Promise<LlamaContext> =>
    of.createContext({contextSize: 512, threads: 1, flashAttention: true, kvCache: "conservative", ...options});
const contextSequence = async (of: LlamaModel, options: object = {}): Promise<LlamaContextSequence> => (await createContext(of, options)).getSequence();

interface Saved {
    readonly path: string;
    readonly turns: Awaited<ReturnType<typeof store.openTurns>>;
}

/** A state file and a turn of the prompt. */
async function save(t: Test, of: LlamaModel, options: object = {}): Promise<Saved> {
    const path = join(storeFolder(t), "state.bin"), turns = await store.openTurns({store: new MemoryStore()}), sequence = await contextSequence(of, options);
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
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

/** @param words of both errors */
async function refuses(t: Test, what: string, {path, turns}: Saved, of: LlamaModel, words: string | RegExp, options: object = {}): Promise<void> {
    const sequence = await contextSequence(of, options);
    await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, 20));
    const turn = await rejection(turns.restore("anna", sequence));
    t.match(turn, {name: "DeltaStoreError", code: "TURN_MODEL_MISMATCH", message: words}, `${what}: a turn`);
    t.equal(sequence.nextTokenIndex, 20);
    const state = await rejection(sequence.loadStateFromFile(path, {acceptRisk: true}));
    t.match(state, {name: "DeltaStoreError", code: "STATE_MODEL_MISMATCH", message: words}, `${what}: a state file`);
    t.match(state.message, path);
    t.equal(sequence.nextTokenIndex, 0);
    await sequence.context.dispose();
}

const otherWeights = "was made with other weights, or other metadata of the model";

t.test("a model that differs in one bit of one weight is another model, whatever the weight's type", async (t) => {
    for (const [path, tensors] of [
        [modelPath, {"blk.1.attn_v.weight": 1, "blk.2.ffn_norm.weight": 0}],
        [await demoModelPath(), {"blk.29.ffn_down.weight": 3, "token_embd.weight": 8, "output_norm.weight": 0}]
    ] as const) {
        const folder = storeFolder(t), saved = await save(t, await load(path));
        for (const [tensor, type] of Object.entries(tensors)) {
            const copy = join(folder, `${tensor}.gguf`);
            t.equal(tensorPlaces(path).find(({name}) => name === tensor)!.type, type);
            changedCopy(path, copy, tensor);
            const other = await load(copy);
            await refuses(t, `${tensor} of type ${type}`, saved, other, otherWeights);
            await other.dispose();
            rmSync(copy);
        }
        const copy = join(folder, "copy.gguf"), link = join(folder, "link.gguf");
        copyFileSync(path, copy);
        symlinkSync(path, link);
        for (const same of [copy, link]) await takes(t, "the same model by another name", saved, await load(same));
        await takes(t, "the same model loaded again", saved, await load(path));
    }
});

t.test("a model whose metadata is overridden is another model, and positions are told by name", async (t) => {
    const saved = await save(t, model);
    const yarn = {llama: {rope: {scaling: {type: "yarn", factor: 4.5, original_context_length: 2048}}}};
    const kinds: [string, object, RegExp][] = [
        ["base", {llama: {rope: {freq_base: 1_000_000.5}}}, /other positions \(rope base 10000, here 1000000\.5\)/],
        ["linear", {llama: {rope: {scaling: {type: "linear", factor: 3.5}}}}, /other positions \(frequency scale 1, here 0\.2857143\)/],
        ["yarn", yarn, /other positions \(frequency scale 1, here 0\.22222222, YaRN's extrapolation factor 0, here 1, .*YaRN's original context 8192, here 2048\)/],
        ["epsilon", {llama: {attention: {layer_norm_rms_epsilon: 0.01}}}, /was made with other weights, or other metadata of the model$/]
    ];
    for (const [name, overrides, words] of kinds) {
        const other = await load(modelPath, overrides);
        await refuses(t, name, saved, other, words);
        await takes(t, `${name} again`, await save(t, other), await load(modelPath, overrides));
    }
    await takes(t, "overrides that say what the file says", saved, await load(modelPath, {llama: {attention: {layer_norm_rms_epsilon: Math.fround(1e-5)}}}));
});

const otherAdapters = /was made with other adapters \(LoRA\), or other scales of them$/;

async function loras(t: Test): Promise<{one: string; other: string}> {
    const folder = t.testdir({one: {}, other: {}}), [one, other] = [join(folder, "one/adapter.gguf"), join(folder, "other/adapter.gguf")];
    await writeLora(one, 1, shape);
    await writeLora(other, 2, shape);
    return {one, other};
}

const withLoras = (...adapters: [filePath: string, scale?: number][]) =>
    ({lora: {adapters: adapters.map(([filePath, scale]) => ({filePath, ...scale === undefined ? {} : {scale}}))}});

t.test("rows of a short context are not those of a long one, where the model has other rope factors for it", async (t) => {
    const folder = t.testdir({}), path = join(folder, "longrope.gguf"), writer = new TinyModelWriter("llama", {
        layers: 2, embed: 128, feedForward: 256, heads: 4, kvHeads: 2, keyLength: 64, valueLength: 64, rotated: 64
    }, 7);
    llamaArchitecture({more: longRope})(writer);
    await writer.gguf.write(path);
    const of = await load(path), [short, same, long] = [1024, 1024, 4096].map((contextSize) => of.createContext({contextSize, threads: 1, flashAttention: true, kvCache: "high"}));
    const sequence = (await short!).getSequence(), turns = await store.openTurns({store: new MemoryStore()}), file = join(folder, "short.state");
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("chat", sequence);
    await sequence.saveStateToFile(file);
    const other = (await long!).getSequence(), words = /rope factors for short contexts, here for long ones/;
    t.match(await rejection(turns.restore("chat", other)), {code: "TURN_MODEL_MISMATCH", message: words});
    t.match(await rejection(other.loadStateFromFile(file, {acceptRisk: true})), {code: "STATE_MODEL_MISMATCH", message: words});
    t.match(await turns.restore("chat", (await same!).getSequence()), {evaluated: 0});
    for (const one of [short, same, long]) await (await one!).dispose();
});

t.test("adapters are told apart by their contents and scales, and by nothing else", async (t) => {
    const {one, other} = await loras(t), [plain, tuned] = [await contextSequence(model), await contextSequence(model, withLoras([one]))];
    t.not((await nextLogits(plain, prompt))[0], (await nextLogits(tuned, prompt))[0], "an adapter makes other rows");
    await t.test("one", async (t) => {
        const saved = await save(t, model, withLoras([one]));
        await refuses(t, "none", saved, model, otherAdapters);
        await refuses(t, "another of the same name and size", saved, model, otherAdapters, withLoras([other]));
        await refuses(t, "another scale", saved, model, otherAdapters, withLoras([one, 0.5]));
        await refuses(t, "one more", saved, model, otherAdapters, withLoras([one], [other]));
        await takes(t, "the same", saved, model, withLoras([one]));
        const copy = join(storeFolder(t), "copy.gguf");
        copyFileSync(one, copy);
        await takes(t, "a copy", saved, model, withLoras([copy]));
        await takes(t, "beside one that is scaled to nothing", saved, model, withLoras([other, 0], [one, 1]));
    });
    await t.test("none", async (t) => {
        const saved = await save(t, model);
        await refuses(t, "one", saved, model, otherAdapters, withLoras([one]));
        await takes(t, "one that is scaled to nothing", saved, model, withLoras([one, 0]));
    });
    await t.test("two", async (t) => {
        const saved = await save(t, model, withLoras([one, 0.7], [other]));
        await takes(t, "in another order", saved, model, withLoras([other], [one, 0.7]));
        await refuses(t, "with each other's scales", saved, model, otherAdapters, withLoras([one], [other, 0.7]));
    });
});

t.test("contexts with other adapters share a store of parked sequences, but no rows", async (t) => {
    const {one, other} = await loras(t), folder = storeFolder(t), options = {contextSize: 1024};
    const twins = [await contextSequence(model, {...options, ...withLoras([one])}), await contextSequence(model, {...options, ...withLoras([other])})];
    const parking = await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: folder, park: 0.2}}}), events: StoreEvent[] = [];
    parking.onEvent.createListener((event) => events.push(event));
    const parkings = async (count: number) => {
        while (events.filter(({type}) => type === "park").length < count) await settled(20);
    };
    const turns = await parking.openTurns(), sequences: LlamaContextSequence[] = [], objects: number[] = [];
    const inventory = async () => (await turns.verify()).objects;
    for (const [index, path] of [one, other, one].entries()) {
        const sequence = await contextSequence(model, {...options, ...withLoras([path])});
        await nextLogits(sequence, prompt);
        await parkings(index + 1);
        await settled(100);
        objects.push(await inventory());
        sequences.push(sequence);
    }
    for (const twin of twins) await nextLogits(twin, prompt);
    const [first, second, third] = [objects[0]!, objects[1]! - objects[0]!, objects[2]! - objects[1]!];
    t.ok(second >= first - 1, `${second} objects of the second, ${first} of the first: all but a centre at most are its own`);
    t.ok(third <= 2, `${third} of one with the first's adapter`);
    const expected = [await goOn(twins[0]!, 5), await goOn(twins[1]!, 5)];
    for (const [index, sequence] of sequences.entries()) sameLogits(t, await goOn(sequence, 5), expected[index % 2]!);
    for (const sequence of [...sequences, ...twins]) await sequence.context.dispose();
    await settled(100);
    await isWell(t, turns);
    await turns.close();
    await attach(llama, {policy: {sharing: {automatic: false}}});
});

t.test("a model in parts is told by all of them", async (t) => {
    const folder = t.testdir({other: {}}), parts = splitGguf(modelPath, join(folder, "split"));
    const copies = parts.map((part) => join(folder, "other", part.split("/").at(-1)!));
    for (const [index, part] of parts.entries()) copyFileSync(part, copies[index]!);
    const turns = await store.openTurns({store: new MemoryStore()}), path = join(folder, "state.bin"), sequence = await contextSequence(await load(parts[0]!));
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await sequence.saveStateToFile(path);
    await turns.save("anna", sequence);
    const saved = {path, turns};
    await takes(t, "copies of all", saved, await load(copies[0]!));
    await refuses(t, "the whole file", saved, model, otherWeights);
    for (const part of copies) {
        const {middle} = tensorPlaces(part)[3]!;
        flipBit(part, middle);
        await refuses(t, part, saved, await load(copies[0]!), otherWeights);
        flipBit(part, middle);
    }
});

/** The clock of files has ticks: what changes within the same one has no other time. */
const tick = () => sleep(20);

/** A file of its own of the model, and another model under its name. */
function ownFile(t: Test): {path: string; replace(): void} {
    const folder = storeFolder(t), path = join(folder, "model.gguf"), other = join(folder, "other.gguf");
    copyFileSync(modelPath, path);
    return {path, replace: () => {
        changedCopy(modelPath, other, "blk.1.attn_v.weight");
        renameSync(other, path);
    }};
}

/** That nothing of the sequence is saved, that nothing comes into it, and that it goes on. */
async function isOnItsOwn(t: Test, {path, turns}: Saved, sequence: LlamaContextSequence, error: {code: string; message: RegExp}): Promise<void> {
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
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

for (const [name, change, error] of [
    ["is another one now", ({replace}) => replace(), {code: "MODEL_CHANGED", message: /model\.gguf was replaced or changed since it was loaded.* Load the model again/}],
    ["was written to", ({path}) => flipBit(path, tensorPlaces(path)[5]!.middle), {code: "MODEL_CHANGED", message: /model\.gguf was replaced or changed/}],
    ["is gone", ({path}) => rmSync(path), {code: "MODEL_NOT_FOUND", message: /model\.gguf .*can't be read again/}]
] as [string, (file: ReturnType<typeof ownFile>) => void, {code: string; message: RegExp}][]) {
    t.test(`a model whose file ${name} is not taken for what the file says`, async (t) => {
        const saved = await save(t, model), file = ownFile(t);
        await tick();
        const of = await load(file.path), before = await createContext(of, {sequences: 2});
        await tick();
        change(file);
        await isOnItsOwn(t, saved, before.getSequence(), error);
        await isOnItsOwn(t, saved, (await createContext(of)).getSequence(), error);
    });
}

t.test("what becomes of a model's file once it is hashed does not matter", async (t) => {
    const saved = await save(t, model), file = ownFile(t), of = await load(file.path);
    await takes(t, "before", saved, of);
    await tick();
    file.replace();
    await takes(t, "by another context", saved, of);
    await takes(t, "and saved", await save(t, of), model);
    await refuses(t, "loaded again", saved, await load(file.path), otherWeights);
});

t.test("a model that was loaded before the store was attached is told by its file, too", async (t) => {
    const file = ownFile(t), early = await openLlama();
    t.teardown(() => early.dispose());
    const of = await early.loadModel({modelPath: file.path, gpuLayers: 0}), overrides = {llama: {rope: {freq_base: 1_000_000.5}}};
    const scaled = await early.loadModel({modelPath, gpuLayers: 0, metadataOverrides: overrides} as Parameters<typeof early.loadModel>[0]);
    await attach(early);
    await takes(t, "with its overrides", await save(t, scaled), await load(modelPath, overrides));
    await refuses(t, "with its overrides", await save(t, model), scaled, /rope base/);
    const saved = await save(t, model);
    await tick();
    file.replace();
    await isOnItsOwn(t, saved, await contextSequence(of), {code: "MODEL_CHANGED", message: /model\.gguf/});
});

t.test("an adapter is what was loaded, also for contexts that come later", async (t) => {
    const {one, other} = await loras(t), fresh = await load(modelPath), unknown = await load(modelPath);
    await createContext(unknown, {...withLoras([one]), kvCache: "stock"});
    const known = await save(t, fresh, withLoras([one]));  // from here on its hash is known
    await tick();
    copyFileSync(one, `${one}.before`);
    renameSync(other, one);
    await takes(t, "as it was hashed", known, fresh, withLoras([one]));
    await isOnItsOwn(t, known, await contextSequence(unknown, withLoras([one])), {code: "MODEL_CHANGED", message: /adapter\.gguf was replaced or changed/});
    const again = await load(modelPath);
    await refuses(t, "loaded now", known, again, otherAdapters, withLoras([one]));
    await takes(t, "the one that it was", known, again, withLoras([`${one}.before`]));
});

/** The files that are hashed from now on. @param afterMs what each takes longer */
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
    await writeLora(adapter, 1, shape);
    const of = await load(path), context = await createContext(of, {sequences: 3, ...withLoras([adapter])});
    const [one, two, three] = [1, 2, 3].map(() => context.getSequence());
    await one!.evaluateWithoutGeneratingNewTokens(prompt);
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

t.test("while files are hashed nothing is lost: what is asked for after a save comes after it, whatever it is", async (t) => {
    const hashed = await watchHashing(t, 300), turns = await store.openTurns({store: new MemoryStore()}), target = await contextSequence(model);
    for (const [name, after] of Object.entries<(sequence: LlamaContextSequence) => unknown>({
        clear: (sequence) => sequence.clearHistory(), dispose: (sequence) => sequence.dispose(), disposeContext: (sequence) => sequence.context.dispose(),
        disposeModel: (sequence) => sequence.model.dispose()
    })) {
        const {path} = ownFile(t), sequence = await contextSequence(await load(path));
        await sequence.evaluateWithoutGeneratingNewTokens(prompt);
        const saving = turns.save(name, sequence);
        await after(sequence);
        t.equal((await saving).tokens, 200, name);
        t.match(await turns.restore(name, target), {turn: {tokens: 200}, evaluated: 0});
        t.ok(hashed.includes(path));
        if (!sequence.context.disposed) await sequence.context.dispose();
    }
});

t.test("the engine saves and restores nothing that it can't tell", async (t) => {
    const native = await nativeBinding(), context = await createContext(model, {sequences: 2}), handle = handleOf(context);
    const [one, two] = [context.getSequence(), context.getSequence()];
    await one.evaluateWithoutGeneratingNewTokens(prompt);
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
