/**
 * What cold conversations take, lose, and cost to restore, with each codec: `npm run bench:cold -- [--model FILE] [--threads 2] [--chunks 2] [--only NAMES]
 * [--out FILE]`. Rows that the file has already are not measured again. `deltastore turns estimate` computes with what it writes to ts/plan/facts/cold.json.
 */
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {parseArgs} from "node:util";
import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {coldFacts, coldPicture, coldTable, type ColdReport, type ColdRow} from "./cold-report.js";
import {batchSize} from "./support/bench-model.js";
import {besideGeneration, type Beside} from "./support/beside.js";
import {chosenModel, modelOption, resultsFile} from "./support/model-option.js";
import {dist, root} from "./support/package.js";
import {answered} from "./support/recall.js";
import {Runtime} from "./support/runtime.js";

const {values} = parseArgs({options: {
    ...modelOption, threads: {type: "string", default: "2"}, chunks: {type: "string", default: "2"}, only: {type: "string"}, out: {type: "string", default: resultsFile("cold")}
}});
const threads = Number(values.threads), chunks = Number(values.chunks), tokens = 4000, chunkTokens = 1024, promptTokens = 512, scoredTokens = chunkTokens - promptTokens, scoredBatch = 16;
/** Two conversations that codecs learn from, and that nothing else is measured on. */
const learnedTokens = 4200;

const {MemoryStore} = await dist("turns/stores/memory.js"), {EvalText} = await dist("eval/text.js"), {f16Weights} = await dist("eval/weights.js");
const {DivergenceRecorder, summarizeDivergence} = await dist("eval/divergence.js"), {addonContextOf} = await dist("runtime/contexts.js");
const {needleDocuments, mostTokens} = await dist("eval/needles.js"), {withContextLock} = await dist("runtime/context-lock.js");
const {loadNative} = await dist("engine/load.js"), {readWeights} = await dist("models/weights.js");

await using runtime = await Runtime.open({threads, modelPath: async () => await f16Weights(await loadNative(), await chosenModel(values.model)), policy: {}});
const {model, store, native} = runtime;
const raw = readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8"), text = new EvalText(model, raw);
/** The chunks of `eval`; behind them what codecs learn from, and then what is measured. */
const pieces = Array.from({length: chunks}, (_, index) => text.beginning((1 + index) * chunkTokens, chunkTokens + 1, "chunks"));
const learnedAt = (1 + chunks) * chunkTokens, learned = [0, 1].map((index) => text.beginning(learnedAt + index * learnedTokens, learnedTokens, "learning"));
const long = text.beginning(learnedAt + 2 * learnedTokens, tokens, "a conversation");
/** Facts that are asked for after restoring, hidden in the text's last quarter, which nothing else uses. */
const documents = needleDocuments(new EvalText(model, raw.slice(-raw.length / 4)));

const open = async (kvCache: string, sequences: number, contextSize: number) =>
    (await model.createContext({contextSize, sequences, batchSize, threads, kvCache, flashAttention: true}));

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
    const start = performance.now(), done = await work();
    return [done, (performance.now() - start) / 1000];
}

/** Logits of what follows a chunk's prompt, batch by batch. */
async function score(sequence: LlamaContextSequence, chunk: readonly number[], each: (logits: Float32Array, next: Uint32Array) => Promise<void>): Promise<void> {
    const {context} = sequence, handle = addonContextOf(context), id = (sequence as unknown as {_sequenceId: number})._sequenceId;
    for (let at = promptTokens; at < chunkTokens; at += scoredBatch) {
        const batch = Uint32Array.from(chunk.slice(at, at + scoredBatch));
        await each(await withContextLock(context, () => native.evaluateLogits(handle, id, at, batch, 0)), Uint32Array.from(chunk.slice(at + 1, at + scoredBatch + 1)));
    }
}

const expected: Float32Array[][] = [];
const stock = await open("stock", 1, Math.max(chunkTokens, mostTokens));
let stockHits = 0;
for (const document of documents) {
    const sequence = stock.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(document.tokens as Token[]);
    stockHits += await answered(sequence, document);
    sequence.dispose();
}
for (const chunk of pieces) {
    const sequence = stock.getSequence(), logits: Float32Array[] = [];
    await sequence.evaluateWithoutGeneratingNewTokens(chunk.slice(0, promptTokens));
    await score(sequence, chunk, async (rows) => { logits.push(rows); });
    expected.push(logits);
    sequence.dispose();
}
await stock.dispose();

interface Filled {
    readonly sequences: readonly LlamaContextSequence[];
    readonly target: LlamaContextSequence;
    readonly evaluateSeconds: number;
}

/** A context whose sequences hold what is frozen: learned texts, the long one, the chunks' prompts, documents with facts; and one that is restored into. */
async function filled(kvCache: string): Promise<Filled> {
    const learns = settings.some((setting) => setting.kvCache === kvCache && setting.codec !== "packed");
    const beginning = (tokens: readonly Token[]) => tokens.slice(0, promptTokens);
    const prompts = [...learns ? learned : learned.map(beginning), long, ...pieces.map(beginning), ...documents.map(({tokens}) => tokens as Token[])];
    const context = await open(kvCache, prompts.length + 1, learnedTokens + 64), sequences: LlamaContextSequence[] = [];
    let evaluateSeconds = 0;
    for (const prompt of prompts) {
        const sequence = context.getSequence();
        const [, seconds] = await timed(() => sequence.evaluateWithoutGeneratingNewTokens(prompt));
        if (prompt === long) evaluateSeconds = seconds;
        sequences.push(sequence);
    }
    return {sequences, target: context.getSequence(), evaluateSeconds};
}

interface Setting {
    readonly name: string;
    readonly kvCache: string;
    readonly codec: ColdRow["codec"];
    readonly options: Record<string, number>;
}
const tiers = ["exact", "high", "conservative", "compact", "recommended", "balanced", "aggressive", "ultra"];
const packed = tiers.map((tier): Setting => ({name: tier, kvCache: tier, codec: "packed", options: {}}));
const frozen = (name: string, codec: Setting["codec"], options: Record<string, number> = {}, kvCache = "exact"): Setting => ({name, kvCache, codec, options});
const settings = [
    ...packed,
    ...[8, 12, 16, 20, 24].map((ratio) => frozen(`transform ${ratio}x`, "transform", {ratio})),
    ...[12, 20].map((ratio) => frozen(`transform ${ratio}x of high`, "transform", {ratio}, "high")),
    ...[8, 4, 2].flatMap((size) => [0, 0.03, 0.05, 0.07, 0.1].map((threshold) => frozen(`vq ${size}${threshold > 0 ? `, F16 above ${threshold}` : ""}`, "vq", {size, threshold}))),
    frozen("pq 2, F16 above 0.08", "pq", {parts: 2, threshold: 0.08}), frozen("pq 8", "pq", {parts: 8, threshold: 0}),
    frozen("channel K4V4 g32", "channel", {keyBits: 4, valueBits: 4, group: 32}), frozen("channel K4V2 g64", "channel", {keyBits: 4, valueBits: 2, group: 64}),
    frozen("tokens", "tokens")
].sort((a, b) => tiers.indexOf(a.kvCache) - tiers.indexOf(b.kvCache)).filter(({name}) => values.only === undefined || values.only.split(";").includes(name));

async function measure({name, codec, options}: Setting, {sequences, target}: Filled): Promise<ColdRow> {
    await using turns = await store.openTurns({store: new MemoryStore()});
    const names = ["learned", "learned too", "long", ...pieces.map((_, index) => `chunk ${index}`), ...documents.map(({name}) => name)];
    const freeze = async (conversation: string) => codec === "packed" ? undefined : await turns.freeze(conversation, {codec, ...options});
    for (const index of [0, 1]) await turns.save(names[index]!, sequences[index]!);
    const first = await freeze(names[0]!);  // learns from both; what is measured comes later
    const bookBytes = first === undefined ? 0 : (await turns.sizeOf(names[0]!)).all - first.bytesAfter;
    for (let index = 2; index < names.length; index++) await turns.save(names[index]!, sequences[index]!);
    const [freezing, freezeSeconds] = await timed(() => freeze("long"));
    await turns.restore("long", target);
    const [, restoreSeconds] = await timed(() => turns.restore("long", target));
    const recorder = new DivergenceRecorder();
    for (const [index, chunk] of pieces.entries()) {
        await freeze(`chunk ${index}`);
        await turns.restore(`chunk ${index}`, target);
        let batch = 0;
        await score(target, chunk, async (logits, next) => recorder.add(await native.compareLogits(expected[index]![batch++]!, logits, next)));
        await target.clearHistory();
    }
    let hits = 0;
    for (const document of documents) {
        await freeze(document.name);
        await turns.restore(document.name, target);
        hits += await answered(target, document);
    }
    await target.clearHistory();
    const {kld, kldError, sameTop1} = summarizeDivergence([recorder.finish()]);
    const bytes = freezing?.bytesAfter ?? (await turns.sizeOf("long")).all;
    return {name, codec, options, hits, bytes, bookBytes, freezeSeconds: codec === "packed" ? 0 : freezeSeconds, restoreSeconds, kld, kldError, sameTop1};
}

const contexts = new Map<string, Filled>();
/** Of the keys and values of one token. */
const elements = runtime.stockBytes(1, 4096) / 4096 / 2;
let report: ColdReport = {
    model: path.basename(runtime.modelPath), elements, parameters: (await readWeights(runtime.modelPath)).parameters, tokens, threads,
    positions: chunks * scoredTokens, questions: documents.flatMap(({needles}) => needles).length, stockHits, stockBytes: 2 * elements * tokens, evaluateSeconds: 0,
    rows: [], beside: []
};
if (existsSync(values.out)) report = JSON.parse(readFileSync(values.out, "utf8")) as ColdReport;
const contextOf = async (kvCache: string): Promise<Filled> => {
    if (!contexts.has(kvCache)) contexts.set(kvCache, await filled(kvCache));
    return contexts.get(kvCache)!;
};
if (values.only === undefined && report.beside.length === 0) {
    const {sequences, target} = await contextOf("exact");
    await using turns = await store.openTurns({store: new MemoryStore()});
    for (const index of [0, 1]) await turns.save(`${index}`, sequences[index]!);
    const freeze = async (name: string) => { await turns.freeze(name, {codec: "transform", ratio: 12}); };
    await freeze("0");
    const beside: Beside[] = [];
    for (let round = 0; round < 5; round++) {
        await turns.save("long", sequences[2]!);
        beside.push(await besideGeneration(target, long.slice(0, promptTokens), () => freeze("long")));
        await turns.delete("long");
    }
    report = {...report, beside};
    writeFileSync(values.out, JSON.stringify(report, null, 2) + "\n");
}
for (const setting of settings) {
    if (report.rows.some(({name}) => name === setting.name)) continue;
    const row = await measure(setting, await contextOf(setting.kvCache));
    const {evaluateSeconds} = contexts.get("exact") ?? {evaluateSeconds: report.evaluateSeconds};
    report = {...report, evaluateSeconds, rows: [...report.rows, row]};
    writeFileSync(values.out, JSON.stringify(report, null, 2) + "\n");
    console.log(`${row.name.padEnd(24)} ${(report.stockBytes / row.bytes).toFixed(1)}x, KLD ${row.kld.toFixed(4)}, frozen in ${row.freezeSeconds.toFixed(2)} s, restored in ${row.restoreSeconds.toFixed(2)} s`);
    if (setting.kvCache !== "exact" && settings[settings.indexOf(setting) + 1]?.kvCache !== setting.kvCache) {
        await contexts.get(setting.kvCache)!.target.context.dispose();
        contexts.delete(setting.kvCache);
    }
}
console.log(`\n${coldTable(report)}`);
writeFileSync(values.out.replace(/(\.json)?$/, ".svg"), coldPicture(report));
if (values.only === undefined) writeFileSync(path.join(root, "ts/plan/facts/cold.json"), JSON.stringify(coldFacts(report), null, 4) + "\n");
