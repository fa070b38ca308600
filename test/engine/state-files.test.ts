import {spawnSync} from "node:child_process";
import {join} from "node:path";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {generate, randomTokens} from "../support/engine.js";
import {nextLogits} from "../support/logits.js";
import {root} from "../support/paths.js";
import {loadState, openStateFiles, stateMore, statePrompt} from "../support/state-files.js";

t.setTimeout(120_000);

const {store, model, modelPath, createContext, savedState, refuses} = await openStateFiles(t);

for (const tier of ["exact", "high", "conservative", "compact"] as const) {
    t.test(`${tier}: a saved state goes on where it was, bit for bit`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const context = await createContext(model, tier, {sequences: 3});
        const [busy, first, second] = [context.getSequence(), context.getSequence(), context.getSequence()];
        await busy.evaluateWithoutGeneratingNewTokens(randomTokens(200, 43));  // so that the context has a mean of keys of its own
        await first.evaluateWithoutGeneratingNewTokens(randomTokens(90, 44));
        for (const sequence of [first, second]) {
            await loadState(sequence, path);
            t.strictSame(sequence.contextTokens, statePrompt);
            t.equal(sequence.nextTokenIndex, statePrompt.length);
        }
        t.match(store.stats(context).sequences, [{tokens: 200}, {tokens: 300}, {tokens: 300}]);
        t.strictSame(await nextLogits(first, stateMore), logits);

        // Loaded rows can be saved, erased in part and shifted.
        const again = join(t.testdirName, "again.bin");
        await second.saveStateToFile(again);
        t.strictSame(await nextLogits(second, stateMore), logits);
        await loadState(first, again);
        t.strictSame(await nextLogits(first, stateMore), logits);
        await second.eraseContextTokenRanges([{start: 20, end: 40}]);
        t.equal((await generate(second, stateMore, 5)).length, 5);
        await context.dispose();

        const [empty, wide] = [await createContext(model, tier), await createContext(model, tier, {contextSize: 2048})];
        for (const context of [empty, wide]) {
            const sequence = context.getSequence();
            await loadState(sequence, path);
            t.strictSame(await nextLogits(sequence, stateMore), logits, "in a new context");
            await context.dispose();
        }
    });

    t.test(`${tier}: a saved state is read by another process`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const child = spawnSync(process.execPath, [join(root, "test/fixtures/state-logits.mjs"), JSON.stringify({modelPath, tier, path, more: stateMore})], {
            encoding: "utf8", timeout: 60_000
        });
        t.equal(child.status, 0, child.stderr);
        t.strictSame(JSON.parse(child.stdout), [...logits]);
    });
}

t.test("a state goes into a sequence of any tier, if the context keeps rows alike", async (t) => {
    const path = join(t.testdir(), "state.bin"), context = await createContext(model, "high", {sequences: 3});
    const exact = (context as {getSequence(options: object): LlamaContextSequence}).getSequence({kvCache: "exact"});
    await exact.evaluateWithoutGeneratingNewTokens(statePrompt);
    await exact.saveStateToFile(path);
    const logits = await nextLogits(exact, stateMore);
    const again = context.getSequence({kvCache: "exact"}), coarser = context.getSequence({kvCache: "compact"});
    for (const sequence of [again, coarser]) await loadState(sequence, path);
    t.strictSame(await nextLogits(again, stateMore), logits);
    t.equal((await generate(coarser, stateMore, 3)).length, 3);
    await refuses(t, "rows of a context that packs", path, "STATE_FORMAT_MISMATCH", await createContext(model, "exact"));
    // Rows that changed their tier are read back, too.
    await store.setTier(coarser, "conservative");
    await coarser.saveStateToFile(path);
    const changed = await nextLogits(coarser, stateMore);
    await loadState(again, path);
    const {residentBytes} = store.stats(context).sequences[1]!;
    t.ok(residentBytes < store.stats(context).sequences[0]!.residentBytes, "its rows stay as they are");
    t.equal(store.tierOf(again), "exact");
    await loadState(coarser, path);
    t.strictSame(await nextLogits(coarser, stateMore), changed);
    await context.dispose();
});

t.test("an empty sequence can be saved and loaded", async (t) => {
    const path = join(t.testdir(), "empty.bin");
    const context = await createContext(model, "high", {sequences: 2});
    const [empty, full] = [context.getSequence(), context.getSequence()];
    await empty.saveStateToFile(path);
    await full.evaluateWithoutGeneratingNewTokens(statePrompt);
    await loadState(full, path);
    t.equal(full.nextTokenIndex, 0);
    t.match(store.stats(context), {tokens: 0, pages: 0});
    t.strictSame(await generate(full, statePrompt, 5), await generate(empty, statePrompt, 5));
    await context.dispose();
});

t.test("a shift that keys have yet to follow is saved with the keys", async (t) => {
    const path = join(t.testdir(), "shifted.bin");
    const context = await createContext(model, "high", {sequences: 2});
    const [sequence, copy] = [context.getSequence(), context.getSequence()];
    await sequence.evaluateWithoutGeneratingNewTokens(statePrompt);
    await sequence.eraseContextTokenRanges([{start: 20, end: 70}]);
    await sequence.saveStateToFile(path);
    await loadState(copy, path);
    t.strictSame(await nextLogits(copy, stateMore), await nextLogits(sequence, stateMore));
    await context.dispose();
});
