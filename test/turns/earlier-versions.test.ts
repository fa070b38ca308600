import {readFileSync, statSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {gunzipSync} from "node:zlib";
import {attach, MemoryStore, type Turns} from "llama-deltastore";
import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import t, {type Test} from "tap";
import {changedCopy} from "../support/changed-gguf.js";
import {openLlama, randomTokens, rejection} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {writeLora} from "../support/lora-writer.js";
import {dist, root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";
import {isWell, storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

// test/fixtures/version-1 is from the version before. Its states and turns do not say from which weights and adapters they were made. The model is
// "llama-wide-group", the tier "conservative". There are 230 tokens, and two turns of "anna": after 150 and at the end.
const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

t.setTimeout(120_000);

const llama = await openLlama(), store = await attach(llama, {policy: {sharing: {automatic: false}}});
const modelPath = await tinyPath("llama-wide-group"), load = (path: string): Promise<LlamaModel> => llama.loadModel({modelPath: path, gpuLayers: 0});
const model = await load(modelPath), tokens = randomTokens(230, 7);
t.teardown(() => llama.dispose());

const createContext = (of = model, options: object = {}): Promise<LlamaContext> =>
    of.createContext({contextSize: 512, sequences: 2, threads: 1, flashAttention: true, kvCache: "conservative", ...options});
const fixture = (name: string): Buffer => gunzipSync(readFileSync(join(root, "test/fixtures/version-1", name)));

interface Exported {
    put: [string, string][];
    objects: [string, string][];
    retain: string[];
}

/** Conversations as the version before stored them. `change` alters what they say of adapters. */
async function storedTurns(t: Test, change?: string): Promise<Turns> {
    const {put, objects, retain} = JSON.parse(fixture("turns.json.gz").toString()) as Exported, memory = new MemoryStore(), seal = new Seal(null);
    const bytes = (all: [string, string][]): [string, Uint8Array][] => all.map(([name, base64]) => [name, Buffer.from(base64, "base64")]);
    const [[key, entry]] = bytes(put) as [[string, Uint8Array]], stored = bytes(objects);
    const conversation = JSON.parse(Buffer.from(await seal.openEntry(key, entry)).toString()) as {turns: {id: string}[]};
    if (change !== undefined) {
        const {id} = conversation.turns.at(-1)!, at = stored.findIndex(([name]) => name === id);
        const record = JSON.parse(Buffer.from(await seal.openObject(id, stored[at]![1])).toString()) as object;
        const changed = Buffer.from(JSON.stringify({...record, adapter: change})), name = seal.nameOf(changed);
        stored[at] = [name, await seal.sealObject(name, changed)];
        retain[retain.indexOf(id)] = conversation.turns.at(-1)!.id = name;
    }
    t.equal(await memory.step({put: [[key, await seal.sealEntry(key, Buffer.from(JSON.stringify(conversation)))]], objects: stored, retain}), null);
    return await store.openTurns({store: memory});
}

/** Warnings of the process while `work` is done. */
async function warningsOf(work: () => Promise<unknown>): Promise<{code?: string; message: string}[]> {
    const warnings: Error[] = [], listener = (warning: Error) => warnings.push(warning);
    process.on("warning", listener);
    await work();
    await settled();
    process.off("warning", listener);
    return warnings;
}

function stateFile(t: Test): string {
    const path = join(storeFolder(t), "state.bin");
    writeFileSync(path, fixture("state.bin.gz"));
    return path;
}

/** Logits of a sequence that evaluates the tokens here, in the fixtures' batches. */
async function evaluated(...batches: [begin: number, end: number][]): Promise<Float32Array[]> {
    const sequence = (await createContext()).getSequence();
    for (const [begin, end] of batches) await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(begin, end));
    return await goOn(sequence, 5, [1, 30, 70]);
}

/** A state file's rows: the bytes between its origin (8 bytes in the version before) and its checksum. */
const rowsOfFixture = (): Buffer => memoryOf(fixture("state.bin.gz")).subarray(16);
const rowsOf = (path: string): Buffer => memoryOf(readFileSync(path)).subarray(-rowsOfFixture().length);

function memoryOf(file: Buffer): Buffer {
    const begin = 12 + 4 * tokens.length, end = file.lastIndexOf("DSTE");
    t.equal(file.toString("latin1", begin, begin + 4), "DSTS");
    return file.subarray(begin, end - 8);
}

/** Whether this processor computes the fixtures' rows bit for bit. ggml's kernels for other processors round otherwise. */
async function computesSame(): Promise<boolean> {
    const sequence = (await createContext()).getSequence(), path = join(storeFolder(t), "here.bin");
    for (const part of [tokens.slice(0, 150), tokens.slice(150)]) await sequence.evaluateWithoutGeneratingNewTokens(part);
    await sequence.saveStateToFile(path);
    return rowsOf(path).equals(rowsOfFixture());
}

/** Logits behind the fixtures' rows: of tokens evaluated here if they make the same rows, else of a loaded state file. */
async function expectedLogits(t: Test): Promise<Float32Array[]> {
    if (await computesSame()) return await evaluated([0, 150], [150, 230]);
    t.comment("this processor computes other rows than the fixtures': their logits are compared with each other");
    const sequence = (await createContext()).getSequence();
    await sequence.loadStateFromFile(stateFile(t), {acceptRisk: true});
    return await goOn(sequence, 5, [1, 30]);  // few tokens: a state file lacks the sums by which rows are judged later
}

t.test("a state file of the version before is read, and what it can't tell is said once", async (t) => {
    const path = stateFile(t), context = await createContext(), [one, two] = [context.getSequence(), context.getSequence()];
    const warnings = await warningsOf(async () => {
        for (const sequence of [one, two, one]) await sequence.loadStateFromFile(path, {acceptRisk: true});
    });
    t.match(warnings, [{code: "DELTASTORE_ORIGIN_UNKNOWN", message: `The state file ${path} was saved by an earlier version`}]);
    t.match(warnings[0]!.message, /can't tell models apart that differ only in weights that are not F32 \(quantized, F16\), nor position settings, nor adapters \(LoRA\)/);
    t.equal(warnings.length, 1);
    for (const sequence of [one, two]) t.strictSame(sequence.contextTokens, tokens);
    await one.saveStateToFile(path);
    t.strictSame(await warningsOf(() => two.loadStateFromFile(path, {acceptRisk: true})), [], "once it is saved again, it tells");
    t.ok(rowsOf(path).equals(rowsOfFixture()), "saved again, its rows are those that were read");
    sameLogits(t, await goOn(one, 5, [1, 30]), (await expectedLogits(t)).slice(0, 2));
    await context.dispose();
});

t.test("a state file of the version before is refused by what it tells", async (t) => {
    const path = stateFile(t), folder = storeFolder(t), norm = join(folder, "norm.gguf"), weight = join(folder, "weight.gguf");
    changedCopy(modelPath, norm, "blk.1.attn_norm.weight");
    changedCopy(modelPath, weight, "blk.1.attn_v.weight");
    const sequence = (await createContext(await load(norm))).getSequence();
    t.match(await rejection(sequence.loadStateFromFile(path, {acceptRisk: true})), {code: "STATE_MODEL_MISMATCH", message: "another model"}, "another F32 tensor");
    const other = (await createContext(await load(weight))).getSequence();
    t.equal((await warningsOf(() => other.loadStateFromFile(path, {acceptRisk: true}))).length, 1, "an F16 tensor is what it can't tell, and says so");
    await other.saveStateToFile(path);
    const own = (await createContext()).getSequence();
    t.match(await rejection(own.loadStateFromFile(path, {acceptRisk: true})), {code: "STATE_MODEL_MISMATCH", message: "other weights"});
});

t.test("turns of the version before are restored, and what they can't tell is said once a store", async (t) => {
    const turns = await storedTurns(t), [first, second] = await turns.history("anna");
    const context = await createContext(), [one, two] = [context.getSequence(), context.getSequence()];
    const restored: unknown[] = [];
    const warnings = await warningsOf(async () => {
        restored.push(await turns.restore("anna", one), await turns.restore("anna", two, {turn: first!.id}), await turns.restore("anna", two));
    });
    t.match(restored, [{turn: {id: second!.id}, data: {said: "again"}, evaluated: 0}, {turn: {id: first!.id}, data: {said: "hello"}, evaluated: 82}, {evaluated: 0}]);
    t.match(warnings, [{code: "DELTASTORE_ORIGIN_UNKNOWN", message: 'The conversation "anna" in memory was saved by an earlier version'}]);
    t.match(warnings[0]!.message, "nor adapters (LoRA) of the same name and size");
    t.equal(warnings.length, 1);
    t.strictSame([one.contextTokens, two.contextTokens], [tokens, tokens]);
    await turns.fork("anna", "bert");
    t.strictSame(await warningsOf(() => turns.restore("bert", two)), [], "a server with many old conversations is not flooded");
    const expected = await expectedLogits(t);
    sameLogits(t, (await goOn(two, 5, [1, 30, 70])).slice(0, expected.length), expected);

    // What is saved now is of this version alone.
    await turns.save("anna", one);
    await turns.save("new", one);
    await isWell(t, turns);
    await turns.delete("bert");
    t.strictSame(await warningsOf(() => turns.restore("anna", two)), []);
    sameLogits(t, await goOn(two, 5, [1, 30, 70]), await goOn(one, 5, [1, 30, 70]));
    const weight = join(storeFolder(t), "weight.gguf");
    changedCopy(modelPath, weight, "blk.1.attn_v.weight");
    const target = (await createContext(await load(weight))).getSequence();
    t.match(await rejection(turns.restore("anna", target)), {code: "TURN_MODEL_MISMATCH", message: "other weights"});
    t.match(await turns.restore("anna", target, {turn: second!.id}), {turn: {tokens: 230}}, "those before it are what they were");
    await context.dispose();
});

t.test("turns of the version before are not frozen, and stay as they are", async (t) => {
    const turns = await storedTurns(t), before = await turns.history("anna"), sequence = (await createContext()).getSequence();
    t.match(await turns.freeze("anna", {codec: "tokens"}), {turns: 0});
    t.strictSame(await turns.history("anna"), before);
    t.match(await turns.restore("anna", sequence), {codec: "packed", evaluated: 0});
    await turns.save("anna", sequence);
    t.match(await turns.freeze("anna", {codec: "tokens"}), {turns: 1});
    t.match(await turns.restore("anna", sequence), {codec: "tokens", evaluated: 230});
    await isWell(t, turns);
});

t.test("turns of the version before are refused by what they tell", async (t) => {
    const folder = storeFolder(t), norm = join(folder, "norm.gguf"), lora = join(folder, "adapter.gguf"), turns = await storedTurns(t);
    changedCopy(modelPath, norm, "blk.1.attn_norm.weight");
    const metadataOverrides = {llama: {rope: {freq_base: 1_000_000.5}}};
    const scaled = await llama.loadModel({modelPath, gpuLayers: 0, metadataOverrides} as Parameters<typeof llama.loadModel>[0]);
    for (const other of [await load(norm), scaled])
        t.match(await rejection(turns.restore("anna", (await createContext(other)).getSequence())),
            {code: "TURN_MODEL_MISMATCH", message: "another model, or other positions"});

    await writeLora(lora, 1, {kvHeads: 1, headLength: 64});
    const {size} = statSync(lora), tuned = (await createContext(model, {lora: {adapters: [{filePath: lora, scale: 0.7}]}})).getSequence();
    t.match(await rejection(turns.restore("anna", tuned)),
        {code: "TURN_MODEL_MISMATCH", message: `The turn was saved with the adapters []; the context has [["adapter.gguf",${size},0.7]]`});
    const described = await storedTurns(t, JSON.stringify([["adapter.gguf", size, 0.7]])), plain = (await createContext()).getSequence();
    t.match(await rejection(described.restore("anna", plain)), {code: "TURN_MODEL_MISMATCH", message: "the context has []"});
    t.match(await described.restore("anna", tuned), {turn: {tokens: 230}, evaluated: 0});
});

t.test("an older version than that is told from damage", async (t) => {
    const path = stateFile(t), bytes = readFileSync(path), begin = 12 + 4 * 230, sequence = (await createContext()).getSequence();
    t.equal(bytes.readUInt32LE(begin + 4), 5);
    bytes.writeUInt32LE(4, begin + 4);
    writeFileSync(path, bytes);
    t.match(await rejection(sequence.loadStateFromFile(path, {acceptRisk: true})), {code: "STATE_FOREIGN", message: "has version 4; this build reads 5 to 6"});
});
