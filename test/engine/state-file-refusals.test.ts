import {copyFileSync, readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import type {LlamaModel} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {nextLogits} from "../support/logits.js";
import {loadState, openStateFiles, stateMore, statePrompt} from "../support/state-files.js";
import {loadTiny} from "../support/tiny-engine.js";

t.setTimeout(120_000);

const {llama, store, model, createContext, savedState, refuses} = await openStateFiles(t);

t.test("states of other models, tiers and sizes are refused by code, and so is what is no state", async (t) => {
    const {path} = await savedState(t, "high");
    const stock = await createContext(model, "stock");
    const stockSequence = stock.getSequence();
    await stockSequence.evaluateWithoutGeneratingNewTokens(statePrompt);
    const stockPath = join(t.testdirName, "stock.bin");
    await stockSequence.saveStateToFile(stockPath);
    const text = join(t.testdirName, "text.txt");
    writeFileSync(text, "This is no state of anything, but it is long enough to have a header.");

    const attempts: [string, LlamaModel, string, object, string][] = [
        ["another model", await loadTiny(llama, "llama-wide-group"), "high", {}, "STATE_MODEL_MISMATCH"],
        ["a model of the same shape, with other weights", await loadTiny(llama, "qwen3-norms"), "high", {}, "STATE_MODEL_MISMATCH"],
        ["the exact tier", model, "exact", {}, "STATE_FORMAT_MISMATCH"],
        ["a smaller context", model, "high", {contextSize: 256}, "STATE_TOO_LARGE"],
        ["a smaller sequence", model, "high", {contextSize: 256, sequences: 4}, "STATE_TOO_LARGE"]
    ];
    for (const [name, model, tier, options, code] of attempts) await refuses(t, name, path, code, await createContext(model, tier, options));
    await refuses(t, "stock's state", stockPath, "STATE_FOREIGN", await createContext(model, "high"));
    await refuses(t, "a text", text, "STATE_FOREIGN", await createContext(model, "high"));
    await refuses(t, "no file", join(t.testdirName, "none.bin"), "STATE_NOT_FOUND", await createContext(model, "high"));
    await refuses(t, "a folder", t.testdirName, "STATE_NOT_FOUND", await createContext(model, "high"));

    t.equal(await codeOf(stockSequence.saveStateToFile(join(t.testdirName, "no", "folder.bin"))).then((code) => code.length > 0), true);
    const packed = (await createContext(model, "high")).getSequence();
    await packed.evaluateWithoutGeneratingNewTokens(stateMore);
    const nowhere = join(t.testdirName, "no", "folder.bin");
    t.match(await rejection(packed.saveStateToFile(nowhere)), {code: "STATE_WRITE_FAILED", message: nowhere});
    t.equal((await generate(packed, stateMore, 3)).length, 3);
    await packed.context.dispose();
    await stock.dispose();
});

for (const tier of ["exact", "conservative"]) {
    t.test(`${tier}: a damaged file is refused, and both the sequence and its neighbour go on`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const whole = readFileSync(path);
        const damaged = join(t.testdirName, "damaged.bin");
        const context = await createContext(model, tier, {sequences: 2});
        const [sequence, neighbour] = [context.getSequence(), context.getSequence()];
        await loadState(neighbour, path);
        const before = store.stats(context);
        const attempt = async (contents: Uint8Array): Promise<string> => {
            writeFileSync(damaged, contents);
            const {code = "no code", message} = await rejection(loadState(sequence, damaged));
            const {tokens, pages} = store.stats(context);
            if (!message.includes(damaged)) return `${code}, but without the file's path: ${message}`;
            if (sequence.nextTokenIndex !== 0 || tokens !== before.tokens || pages !== before.pages) return `${code}, but something is left`;
            return code;
        };

        for (const length of [0, 1, 5, 11, 12, 40, 12 + 4 * 300, 12 + 4 * 300 + 3, 1300, 2000, whole.length >> 1, whole.length - 9, whole.length - 1])
            t.equal(await attempt(whole.subarray(0, length)), "STATE_DAMAGED", `cut to ${length} bytes`);

        const random = new Gaussian(45);
        const places = [
            ...Array.from({length: 14}, (_, at) => at * 4), 12 + 4 * 300, 12 + 4 * 300 + 4, 12 + 4 * 300 + 8, 12 + 4 * 300 + 17,
            ...Array.from({length: 32}, () => random.integer(whole.length)), whole.length - 1
        ];
        const allowed = /^STATE_(DAMAGED|FOREIGN|MODEL_MISMATCH|FORMAT_MISMATCH|TOO_LARGE)$/;
        for (const place of places) {
            const contents = Uint8Array.from(whole);
            contents[place]! ^= 1 << random.integer(8);
            t.match(await attempt(contents), allowed, `a bit flipped at ${place} of ${whole.length}`);
        }
        t.match(await attempt(Buffer.concat([whole, Buffer.alloc(100)])), allowed, "longer than it should be");
        t.equal(await attempt(Buffer.alloc(whole.length)), "STATE_FOREIGN", "zeros");
        for (const text of ["x", "qsg_", "Hello", "not a state"]) t.equal(await attempt(Buffer.from(text)), "STATE_FOREIGN", text);

        copyFileSync(path, damaged);
        await loadState(sequence, damaged);
        t.strictSame(await nextLogits(sequence, stateMore), logits, "the sequence can be used");
        t.strictSame(await nextLogits(neighbour, stateMore), logits, "the other one is unharmed");
        await context.dispose();
    });
}
