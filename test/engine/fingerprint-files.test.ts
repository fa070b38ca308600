import {rmSync} from "node:fs";
import {attach} from "llama-deltastore";
import t from "tap";
import {flipBit, tensorPlaces} from "../support/changed-gguf.js";
import {openLlama} from "../support/engine.js";
import {openFingerprints, otherWeights, tick} from "../support/fingerprints.js";

t.setTimeout(240_000);

const {model, modelPath, load, createContext, contextSequence, save, takes, refuses, ownFile, isOnItsOwn} = await openFingerprints(t);

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

t.test("once a model's file is hashed, later changes of it do not matter", async (t) => {
    const saved = await save(t, model), file = ownFile(t), of = await load(file.path);
    await takes(t, "before", saved, of);
    await tick();
    file.replace();
    await takes(t, "by another context", saved, of);
    await takes(t, "and saved", await save(t, of), model);
    await refuses(t, "loaded again", saved, await load(file.path), otherWeights);
});

t.test("a model that was loaded before the store was attached is told apart by its file, too", async (t) => {
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
