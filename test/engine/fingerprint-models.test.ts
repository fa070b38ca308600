import {copyFileSync, rmSync, symlinkSync} from "node:fs";
import {join} from "node:path";
import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {changedCopy, flipBit, tensorPlaces} from "../support/changed-gguf.js";
import {rejection} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {openFingerprints, otherWeights, savedPrompt} from "../support/fingerprints.js";
import {splitGguf} from "../support/split-gguf.js";
import {llama as llamaArchitecture, longRope} from "../support/tiny-architectures.js";
import {TinyModelWriter} from "../support/tiny-model-writer.js";
import {storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const {store, model, modelPath, load, contextSequence, save, takes, refuses} = await openFingerprints(t);

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

t.test("rows of a short context are refused by a long one where the model's rope factors differ", async (t) => {
    const folder = t.testdir({}), path = join(folder, "longrope.gguf"), writer = new TinyModelWriter("llama", {
        layers: 2, embed: 128, feedForward: 256, heads: 4, kvHeads: 2, keyLength: 64, valueLength: 64, rotated: 64
    }, 7);
    llamaArchitecture({more: longRope})(writer);
    await writer.gguf.write(path);
    const of = await load(path), [short, same, long] = [1024, 1024, 4096].map((contextSize) => of.createContext({contextSize, threads: 1, flashAttention: true, kvCache: "high"}));
    const sequence = (await short!).getSequence(), turns = await store.openTurns({store: new MemoryStore()}), file = join(folder, "short.state");
    await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt);
    await turns.save("chat", sequence);
    await sequence.saveStateToFile(file);
    const other = (await long!).getSequence(), words = /rope factors for short contexts, here for long ones/;
    t.match(await rejection(turns.restore("chat", other)), {code: "TURN_MODEL_MISMATCH", message: words});
    t.match(await rejection(other.loadStateFromFile(file, {acceptRisk: true})), {code: "STATE_MODEL_MISMATCH", message: words});
    t.match(await turns.restore("chat", (await same!).getSequence()), {evaluated: 0});
    for (const one of [short, same, long]) await (await one!).dispose();
});

t.test("a model in parts is told apart by every part", async (t) => {
    const folder = t.testdir({other: {}}), parts = splitGguf(modelPath, join(folder, "split"));
    const copies = parts.map((part) => join(folder, "other", part.split("/").at(-1)!));
    for (const [index, part] of parts.entries()) copyFileSync(part, copies[index]!);
    const turns = await store.openTurns({store: new MemoryStore()}), path = join(folder, "state.bin"), sequence = await contextSequence(await load(parts[0]!));
    await sequence.evaluateWithoutGeneratingNewTokens(savedPrompt);
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
