import {copyFileSync, renameSync} from "node:fs";
import {join} from "node:path";
import {attach, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {loras, openFingerprints, otherAdapters, savedPrompt, tick, withLoras} from "../support/fingerprints.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {isWell, storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, model, modelPath, load, createContext, contextSequence, save, takes, refuses, isOnItsOwn} = await openFingerprints(t);

t.test("adapters are told apart by their contents and scales, and by nothing else", async (t) => {
    const {one, other} = await loras(t), [plain, tuned] = [await contextSequence(model), await contextSequence(model, withLoras([one]))];
    t.not((await nextLogits(plain, savedPrompt))[0], (await nextLogits(tuned, savedPrompt))[0], "an adapter makes other rows");
    await t.test("an adapter is told from others, from none and from other scales", async (t) => {
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
    await t.test("no adapter is told from one, and is as one that is scaled to nothing", async (t) => {
        const saved = await save(t, model);
        await refuses(t, "one", saved, model, otherAdapters, withLoras([one]));
        await takes(t, "one that is scaled to nothing", saved, model, withLoras([one, 0]));
    });
    await t.test("two adapters are the same in any order, with their own scales", async (t) => {
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
        await nextLogits(sequence, savedPrompt);
        await parkings(index + 1);
        await settled(100);
        objects.push(await inventory());
        sequences.push(sequence);
    }
    for (const twin of twins) await nextLogits(twin, savedPrompt);
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

t.test("an adapter is what was loaded, also for later contexts", async (t) => {
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
