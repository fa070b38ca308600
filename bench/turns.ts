/**
 * What saved turns take, and how soon they are back: `npm run bench:turns -- [--tokens 4000] [--turns 40] [--rounds 5] [--threads 1] [--out FILE]`.
 * Leave a core free: saving has a thread of its own.
 */
import {mkdtempSync, readFileSync, rmSync, statSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import path from "node:path";
import {parseArgs} from "node:util";
import type {LlamaContextSequence, Token} from "node-llama-cpp";
import type {DeltaStore, Turns} from "../ts/index.js";
import {dist, root} from "./support/package.js";
import {batchSize} from "./support/bench-model.js";
import {chosenModel, resultsFile} from "./support/model-option.js";
import {Runtime} from "./support/runtime.js";
import {mean, timed, tokenTimes, tokenTimesDuring} from "./support/token-times.js";
import {turnsTables, turnTokens, type HistoryReport, type TurnReport, type TurnsReport, type WakeReport} from "./turns-report.js";

const {values} = parseArgs({options: {
    tokens: {type: "string", default: "4000"}, turns: {type: "string", default: "40"}, rounds: {type: "string", default: "5"},
    threads: {type: "string", default: "1"}, out: {type: "string", default: resultsFile("turns")}
}});
const tokens = Number(values.tokens), rounds = Number(values.rounds), threads = Number(values.threads);
const tiers = ["exact", "high", "conservative"];

const {MemoryStore} = await dist("turns/stores/memory.js");
const folder = mkdtempSync(path.join(tmpdir(), "deltastore-turns-"));
let folders = 0;
const newFolder = () => path.join(folder, String(folders++));

await using runtime = await Runtime.open({threads, modelPath: chosenModel, policy: {}});
const {model, store} = runtime;
const {attach} = await dist("index.js");
const text = model.tokenize(readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8"));

const createContext = (kvCache: string, sequences: number) => model.createContext({contextSize: tokens + 512, sequences, batchSize, threads, kvCache, flashAttention: true});

async function stateBytes(sequence: LlamaContextSequence): Promise<number> {
    const file = newFolder();
    await sequence.saveStateToFile(file);
    const {size} = statSync(file);
    rmSync(file);
    return size;
}

/** What a snapshot takes in a store of its own. */
async function alone(sequence: LlamaContextSequence): Promise<number> {
    const turns = await store.openTurns({store: new MemoryStore()});
    await turns.save("alone", sequence);
    return await turns.bytes();
}

/** Bytes after each of `turns` saves of `step` more tokens. */
async function history(kvCache: string, turns: number, step: number): Promise<{full: number[]; kept: number[]}> {
    const context = await createContext(kvCache, 1), sequence = context.getSequence();
    const kept = kvCache === "stock" ? null : await store.openTurns({store: newFolder()});
    const report = {full: [] as number[], kept: [] as number[]};
    for (let turn = 0; turn < turns; turn++) {
        await sequence.evaluateWithoutGeneratingNewTokens(text.slice(turn * step, (turn + 1) * step));
        report.full.push(kept === null ? await stateBytes(sequence) : await alone(sequence));
        if (kept === null) continue;
        await kept.save("conversation", sequence);
        report.kept.push(await kept.bytes());
    }
    await kept?.close();
    await context.dispose();
    return report;
}

async function measureHistory(turns: number, step: number): Promise<HistoryReport> {
    const stock = await history("stock", turns, step), report: HistoryReport = {turns, step, stock: stock.full, tiers: []};
    for (const tier of tiers) report.tiers.push({tier, ...await history(tier, turns, step)});
    return report;
}

/** The next 16 tokens. */
async function goOn(sequence: LlamaContextSequence, first: Token): Promise<string> {
    const answer: Token[] = [];
    for await (const token of sequence.evaluate([first], {temperature: 0})) if (answer.push(token) === 16) break;
    return answer.join();
}

/** Without parking: its saves and removals would run in the thread that reads LMDB. */
async function measureRestoring(tier: string): Promise<number[]> {
    await attach(runtime.llama, {policy: {sharing: {automatic: false}}});
    const context = await createContext(tier, 2), [source, target] = [context.getSequence(), context.getSequence()];
    const turns = await store.openTurns({store: newFolder()}), restoring: number[] = [];
    await source.evaluateWithoutGeneratingNewTokens(text.slice(0, tokens));
    await turns.save("conversation", source);
    await source.clearHistory();  // so that nothing is there to share
    for (let round = 0; round < 3 * rounds; round++) {  // many, as the system is slow with some of the pages
        restoring.push(await timed(() => turns.restore("conversation", target)));
        await target.clearHistory();
    }
    await turns.close();
    await context.dispose();
    return restoring;
}

async function measureWaking(tier: string): Promise<WakeReport> {
    const saving = await measureSaving(tier), restoring = await measureRestoring(tier);
    const parking = await attach(runtime.llama, {policy: {sharing: {automatic: false}, turns: {store: newFolder(), park: 0.2}}});
    const context = await createContext(tier, 2), [source, target] = [context.getSequence(), context.getSequence()];
    const turns = await store.openTurns({store: newFolder()}), prompt = text.slice(0, tokens);
    const report: WakeReport = {
        tier, evaluating: await timed(() => source.evaluateWithoutGeneratingNewTokens(prompt)), restoring, parked: [], same: true, ...saving
    };
    await turns.save("conversation", source);
    for (let round = 0; round < rounds; round++) {
        await source.clearHistory();
        await turns.restore("conversation", target);
        await parkedOnce(parking, target);
        report.parked.push(await timed(() => target.evaluateWithoutGeneratingNewTokens([text[tokens]!])));
        const answer = await goOn(target, text[tokens + 1]!);
        await turns.restore("conversation", source);
        await source.evaluateWithoutGeneratingNewTokens([text[tokens]!]);
        report.same &&= answer === await goOn(source, text[tokens + 1]!);
        await target.clearHistory();
    }
    await turns.close();
    await context.dispose();
    return report;
}

/** Another sequence's generation is timed before, beside and after a first save. */
async function measureSaving(tier: string): Promise<{saving: number[]; decoding: number[]}> {
    await attach(runtime.llama, {policy: {sharing: {automatic: false}}});  // without parking
    const context = await createContext(tier, 2), [source, busy] = [context.getSequence(), context.getSequence()];
    await source.evaluateWithoutGeneratingNewTokens(text.slice(0, tokens));
    const report = {saving: [] as number[], decoding: [] as number[]};
    for (let round = 0; round < rounds; round++) {
        await busy.clearHistory();  // not to outgrow its context
        await busy.evaluateWithoutGeneratingNewTokens(text.slice(0, 500));
        const generation = busy.evaluate([text[500]!], {temperature: 0.8, yieldEogToken: true});
        const turns = await store.openTurns({store: newFolder()});
        const before = await tokenTimes(generation, (done) => done === 30);
        const {tokens: during} = await tokenTimesDuring(generation, () => turns.save("conversation", source));
        await turns.close();
        const after = await tokenTimes(generation, (done) => done === 30);
        await generation.return();
        report.saving.push(during.reduce((sum, time) => sum + time, 0));
        report.decoding.push(mean([...before, ...after]) / mean(during));
    }
    await context.dispose();
    return report;
}

/** Waits until the sequence's rows are in the store. The event is told by its tokens: no other sequence has as many. */
async function parkedOnce(store: DeltaStore, sequence: LlamaContextSequence): Promise<void> {
    const alive = setInterval(() => undefined, 1000);  // parking alone keeps no process
    await new Promise<void>((resolve) => {
        const listener = store.onEvent.createListener((event) => {
            if (event.type !== "park" || event.context !== sequence.context || event.tokens !== sequence.nextTokenIndex) return;
            listener.dispose();
            resolve();
        });
    });
    clearInterval(alive);
}

/** Short turns behind `tokens`. The later half of them is saved beside another sequence's generation. */
async function measureTurn(tier: string): Promise<TurnReport> {
    const context = await createContext(tier, 2), [sequence, busy] = [context.getSequence(), context.getSequence()];
    await sequence.evaluateWithoutGeneratingNewTokens(text.slice(0, tokens - 64));
    const turns: Turns = await store.openTurns({store: newFolder()});
    await turns.save("conversation", sequence);
    const report: TurnReport = {tier, atRest: await turns.bytes(), bytes: [], idle: [], beside: []};
    const save = async () => report.bytes.push((await turns.save("conversation", sequence)).bytes);
    const evaluate = () => sequence.evaluateWithoutGeneratingNewTokens(text.slice(sequence.nextTokenIndex, sequence.nextTokenIndex + turnTokens));
    for (let turn = 0; turn < 4; turn++) {
        await evaluate();
        report.idle.push(await timed(save));
    }
    const generation = busy.evaluate(text.slice(0, 100), {temperature: 0.8, yieldEogToken: true});
    for (let turn = 0; turn < 4; turn++) {
        await evaluate();
        await tokenTimes(generation, (done) => done === 3);
        report.beside.push((await tokenTimesDuring(generation, save)).work);
    }
    await generation.return();
    await turns.close();
    await context.dispose();
    return report;
}

try {
    const stockContext = await createContext("stock", 1), stockSequence = stockContext.getSequence();
    await stockSequence.evaluateWithoutGeneratingNewTokens(text.slice(0, tokens - 64));
    const stock = await stateBytes(stockSequence);
    await stockContext.dispose();
    const report: TurnsReport = {tokens, threads, stock, turn: [], histories: [], waking: []};
    for (const tier of tiers) report.turn.push(await measureTurn(tier));
    report.histories.push(await measureHistory(Number(values.turns), Math.floor(tokens / Number(values.turns))), await measureHistory(64, 16));
    for (const tier of tiers) report.waking.push(await measureWaking(tier));
    for (const rendered of Object.values(turnsTables(report))) console.log(`${rendered}\n`);
    writeFileSync(values.out, JSON.stringify(report) + "\n");
} finally {
    rmSync(folder, {recursive: true, force: true});
}
