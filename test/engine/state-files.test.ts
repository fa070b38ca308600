import {spawnSync} from "node:child_process";
import {
    chmodSync, copyFileSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync
} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {attach, DeltaStoreError} from "llama-deltastore";
import type {LlamaContextSequence, LlamaModel, Token} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {root} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";

t.setTimeout(120_000);

const llama = await openLlama();
// What sequences share by themselves is sharing.test.ts's.
const store = await attach(llama, {policy: {sharing: {automatic: false}}});
const modelPath = await tinyModelPath(tinyModel("llama-head-128"));
const model = await llama.loadModel({modelPath, gpuLayers: 0});
const other = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-wide-group")), gpuLayers: 0});
/** Of the same shape as `model`, with other weights. */
const sibling = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("qwen3-norms")), gpuLayers: 0});
t.teardown(() => llama.dispose());

const stateLogits = join(root, "test/fixtures/state-logits.mjs");
const prompt = randomTokens(300, 41);
const more = randomTokens(12, 42).slice(1);
const tiers = ["exact", "high", "conservative", "compact"] as const;

function createContext(model: LlamaModel, kvCache: string, options: object = {}) {
    return model.createContext({contextSize: 512, threads: 1, kvCache, ...options});
}

async function nextLogits(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<number[]> {
    const results = await sequence.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, {generateNext: {logits: true}}]]);
    const logits = results.at(-1)!.next.logits!;
    return Array.from({length: logits.size}, (_, token) => logits.get(token as Token)!);
}

const load = (sequence: LlamaContextSequence, path: string) => sequence.loadStateFromFile(path, {acceptRisk: true});

/** A state of the prompt in a file, and the logits of the tokens `more` after it. */
async function savedState(t: Test, kvCache: string): Promise<{path: string; logits: number[]}> {
    const path = join(t.testdir(), "state.bin");
    const context = await createContext(model, kvCache);
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const {fileSize} = await sequence.saveStateToFile(path);
    t.equal(statSync(path).size, fileSize);
    const logits = await nextLogits(sequence, more);
    await context.dispose();
    return {path, logits};
}

for (const tier of tiers) {
    t.test(`${tier}: a saved state goes on where it was, bit for bit`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const context = await createContext(model, tier, {sequences: 3});
        const [busy, first, second] = [context.getSequence(), context.getSequence(), context.getSequence()];
        await busy.evaluateWithoutGeneratingNewTokens(randomTokens(200, 43));  // gives the context means of keys of its own
        await first.evaluateWithoutGeneratingNewTokens(randomTokens(90, 44));
        for (const sequence of [first, second]) {
            await load(sequence, path);
            t.strictSame(sequence.contextTokens, prompt);
            t.equal(sequence.nextTokenIndex, prompt.length);
        }
        t.match(store.stats(context).sequences, [{tokens: 200}, {tokens: 300}, {tokens: 300}]);
        t.strictSame(await nextLogits(first, more), logits);

        // What is loaded can be saved, erased in part and shifted.
        const again = join(t.testdirName, "again.bin");
        await second.saveStateToFile(again);
        t.strictSame(await nextLogits(second, more), logits);
        await load(first, again);
        t.strictSame(await nextLogits(first, more), logits);
        await second.eraseContextTokenRanges([{start: 20, end: 40}]);
        t.equal((await generate(second, more, 5)).length, 5);
        await context.dispose();

        const [empty, wide] = [await createContext(model, tier), await createContext(model, tier, {contextSize: 2048})];
        for (const context of [empty, wide]) {
            const sequence = context.getSequence();
            await load(sequence, path);
            t.strictSame(await nextLogits(sequence, more), logits, "in a new context");
            await context.dispose();
        }
    });

    t.test(`${tier}: a saved state is read by another process`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const child = spawnSync(process.execPath, [stateLogits, JSON.stringify({modelPath, tier, path, more})], {
            encoding: "utf8", timeout: 60_000
        });
        t.equal(child.status, 0, child.stderr);
        t.strictSame(JSON.parse(child.stdout), logits);
    });
}

t.test("a state goes into a sequence of any tier, if the context keeps rows alike", async (t) => {
    const path = join(t.testdir(), "state.bin"), context = await createContext(model, "high", {sequences: 3});
    const exact = (context as {getSequence(options: object): LlamaContextSequence}).getSequence({kvCache: "exact"});
    await exact.evaluateWithoutGeneratingNewTokens(prompt);
    await exact.saveStateToFile(path);
    const logits = await nextLogits(exact, more);
    const again = context.getSequence({kvCache: "exact"}), coarser = context.getSequence({kvCache: "compact"});
    for (const sequence of [again, coarser]) await load(sequence, path);
    t.strictSame(await nextLogits(again, more), logits);
    t.equal((await generate(coarser, more, 3)).length, 3);
    await refuses(t, "rows of a context that packs", path, "STATE_FORMAT_MISMATCH", await createContext(model, "exact"));
    // What changed its tier is read back, too.
    await store.setTier(coarser, "conservative");
    await coarser.saveStateToFile(path);
    const changed = await nextLogits(coarser, more);
    await load(again, path);
    const {residentBytes} = store.stats(context).sequences[1]!;
    t.ok(residentBytes < store.stats(context).sequences[0]!.residentBytes, "its rows stay as they are");
    t.equal(store.tierOf(again), "exact");
    await load(coarser, path);
    t.strictSame(await nextLogits(coarser, more), changed);
    await context.dispose();
});

t.test("states of other contexts are refused by name", async (t) => {
    const {path} = await savedState(t, "high");
    const stock = await createContext(model, "stock");
    const stockSequence = stock.getSequence();
    await stockSequence.evaluateWithoutGeneratingNewTokens(prompt);
    const stockPath = join(t.testdirName, "stock.bin");
    await stockSequence.saveStateToFile(stockPath);
    const text = join(t.testdirName, "text.txt");
    writeFileSync(text, "This is no state of anything, but it is long enough to have a header.");

    const attempts: [string, LlamaModel, string, object, string][] = [
        ["another model", other, "high", {}, "STATE_MODEL_MISMATCH"],
        ["a model of the same shape", sibling, "high", {}, "STATE_MODEL_MISMATCH"],
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
    await packed.evaluateWithoutGeneratingNewTokens(more);
    const nowhere = join(t.testdirName, "no", "folder.bin");
    t.match(await rejection(packed.saveStateToFile(nowhere)), {code: "STATE_WRITE_FAILED", message: nowhere});
    t.equal((await generate(packed, more, 3)).length, 3);
    await packed.context.dispose();
    await stock.dispose();
});

/** That the file is refused with this code, and that both the sequence and its neighbour can be used as if nothing had been. */
async function refuses(t: Test, name: string, path: string, code: string, context: Awaited<ReturnType<typeof createContext>>): Promise<void> {
    const sequence = context.getSequence();
    const neighbour = context.totalSequences > 1 ? context.getSequence() : undefined;
    const tokens = prompt.slice(0, 60);  // in the window, so that evaluating the last one again changes nothing
    await neighbour?.evaluateWithoutGeneratingNewTokens(tokens);
    const before = store.stats(context);
    await sequence.evaluateWithoutGeneratingNewTokens(tokens);
    try {
        await load(sequence, path);
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

for (const tier of ["exact", "conservative"]) {
    t.test(`${tier}: damaged files`, async (t) => {
        const {path, logits} = await savedState(t, tier);
        const whole = readFileSync(path);
        const damaged = join(t.testdirName, "damaged.bin");
        const context = await createContext(model, tier, {sequences: 2});
        const [sequence, neighbour] = [context.getSequence(), context.getSequence()];
        await load(neighbour, path);
        const before = store.stats(context);
        const attempt = async (contents: Uint8Array): Promise<string> => {
            writeFileSync(damaged, contents);
            const {code = "no code", message} = await rejection(load(sequence, damaged));
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
        await load(sequence, damaged);
        t.strictSame(await nextLogits(sequence, more), logits, "the sequence can be used");
        t.strictSame(await nextLogits(neighbour, more), logits, "the other one is unharmed");
        await context.dispose();
    });
}

/** A sequence with the prompt, for files that can't be written. */
async function filled(t: Test): Promise<LlamaContextSequence> {
    const context = await createContext(model, "high"), sequence = context.getSequence();
    t.teardown(() => context.dispose());
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    return sequence;
}

/** Mounts a file system of so many bytes. @returns its folder, or why there is none */
function smallDisk(t: Test, bytes: number): {folder: string} | {missing: string} {
    const folder = mkdtempSync(join(tmpdir(), "deltastore-disk-"));
    const {status, stderr, error} = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "none", folder], {encoding: "utf8"});
    t.teardown(() => {
        if (status === 0) spawnSync("umount", [folder]);
        rmdirSync(folder);
    });
    return status === 0 ? {folder} : {missing: `no file system can be mounted: ${(error?.message ?? stderr).trim()}`};
}

t.test("a full disk: what was saved before stays, and nothing else", async (t) => {
    const page = 4096, sequence = await filled(t), large = join(t.testdir(), "large.bin"), {fileSize} = await sequence.saveStateToFile(large);
    const pages = Math.ceil(fileSize / page), disk = smallDisk(t, (2 * pages + 1) * page);
    if ("missing" in disk) return void t.pass("", {skip: disk.missing});
    const path = join(disk.folder, "state.bin"), filler = join(disk.folder, "filler");
    await sequence.eraseContextTokenRanges([{start: 100, end: prompt.length}]);
    await sequence.saveStateToFile(path);
    const before = readFileSync(path);
    await load(sequence, large);
    const used = Math.ceil(before.length / page);
    // From not a byte to all but the last page of it.
    for (const free of [0, 1, pages >> 1, pages - 2, pages - 1]) {
        writeFileSync(filler, Buffer.alloc((2 * pages + 1 - used - free) * page));
        t.match(await rejection(sequence.saveStateToFile(path)), {
            name: "DeltaStoreError", code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: no space left on device (ENOSPC)`
        }, `${free} of ${pages} pages are free`);
        t.ok(readFileSync(path).equals(before), "the file is as it was");
        t.strictSame(readdirSync(disk.folder).sort(), ["filler", "state.bin"]);
        t.strictSame(sequence.contextTokens, prompt, "and so is the sequence");
        rmSync(filler);
    }
    const other = (await createContext(model, "high")).getSequence();
    await load(other, path);
    t.equal(other.nextTokenIndex, 100);
    await sequence.saveStateToFile(path);
    await load(other, path);
    t.equal(other.nextTokenIndex, prompt.length, "with room it is written again");
    await other.context.dispose();
});

t.test("a limit on the size of files", (t) => {
    const folder = t.testdir(), path = join(folder, "state.bin");
    const script = 'ulimit -f 16; exec "$0" "$@"', options = JSON.stringify({modelPath, tier: "high", path, tokens: prompt});
    const {status, stdout, stderr} = spawnSync("bash", ["-c", script, process.execPath, join(root, "test/fixtures/save-state.mjs"), options], {
        encoding: "utf8", timeout: 60_000
    });
    t.equal(status, 0, stderr);
    t.strictSame(JSON.parse(stdout), {code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: file too large (EFBIG)`});
    t.strictSame(readdirSync(folder), [], "nothing is left");
    t.end();
});

t.test("where no state file can be", async (t) => {
    const folder = t.testdir({file: "", link: t.fixture("symlink", "kept.bin"), "kept.bin": ""}), sequence = await filled(t);
    const attempts: [string, string][] = [
        [join(folder, "none", "state.bin"), "no such file or directory (ENOENT)"], [join(folder, "file", "state.bin"), "not a directory (ENOTDIR)"],
        [join(folder, "x".repeat(300)), "name too long (ENAMETOOLONG)"], [folder, "it is no regular file"], ["/dev/full", "it is no regular file"]
    ];
    const names = readdirSync(folder).sort();
    for (const [path, cause] of attempts) {
        t.match(await rejection(sequence.saveStateToFile(path)), {code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: ${cause}`});
        t.strictSame(readdirSync(folder).sort(), names);
    }
    t.ok(statSync("/dev/full").isCharacterDevice());

    const [link, kept] = [join(folder, "link"), join(folder, "kept.bin")];
    chmodSync(kept, 0o600);
    const [{fileSize}] = await Promise.all([sequence.saveStateToFile(link), sequence.saveStateToFile(kept)]);
    t.ok(lstatSync(link).isSymbolicLink(), "a link stays one");
    t.match(statSync(kept), {size: fileSize, mode: 0o100600}, "and who may read a file stays so");
    t.strictSame(readdirSync(folder).sort(), names);
    await load(sequence, link);
    t.equal(sequence.nextTokenIndex, prompt.length);
});

t.test("an empty sequence can be saved and loaded", async (t) => {
    const path = join(t.testdir(), "empty.bin");
    const context = await createContext(model, "high", {sequences: 2});
    const [empty, full] = [context.getSequence(), context.getSequence()];
    await empty.saveStateToFile(path);
    await full.evaluateWithoutGeneratingNewTokens(prompt);
    await load(full, path);
    t.equal(full.nextTokenIndex, 0);
    t.match(store.stats(context), {tokens: 0, pages: 0});
    t.strictSame(await generate(full, prompt, 5), await generate(empty, prompt, 5));
    await context.dispose();
});

t.test("a shift that keys have yet to follow is saved with them", async (t) => {
    const path = join(t.testdir(), "shifted.bin");
    const context = await createContext(model, "high", {sequences: 2});
    const [sequence, copy] = [context.getSequence(), context.getSequence()];
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await sequence.eraseContextTokenRanges([{start: 20, end: 70}]);
    await sequence.saveStateToFile(path);
    await load(copy, path);
    t.strictSame(await nextLogits(copy, more), await nextLogits(sequence, more));
    await context.dispose();
});
