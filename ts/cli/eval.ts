import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import type {Command} from "commander";
import type {Llama, LlamaModel} from "node-llama-cpp";
import {packageRoot} from "../engine/files.js";
import {DeltaStoreError} from "../errors.js";
import {defaultCacheNames, resolveCaches, stockCacheNames, withWindowlessTiers, type EvalCache} from "../eval/caches.js";
import {Journal} from "../eval/journal.js";
import {measurements, type EvalReport, type Measurement} from "../eval/report.js";
import {evalSetup} from "../eval/setup.js";
import {f16Weights} from "../eval/weights.js";
import type {DeltaStore} from "../index.js";
import {loadPolicy, policyFromEnvironment, readPolicy} from "../policy/load.js";
import {formatReport} from "./eval-report.js";
import {modelHelp, nameList, nameListOf, wholeNumber} from "./options.js";
import {printJson, printLine, printNote} from "./output.js";
import {showSteps} from "./progress.js";
import {openRuntime, type Runtime} from "./runtime.js";

interface EvalOptions {
    model?: string;
    policy?: string;
    caches?: string[];
    what?: Measurement[];
    chunks: number;
    text?: string;
    out?: string;
    threads?: number;
    json?: boolean;
}

/** Beside --out, until the run is complete. */
const journalSuffix = ".unfinished";

const defaultText = path.join(packageRoot, "bench/data/wikitext-2-test-excerpt.txt");

/** Adds `eval`. */
export function addEvalCommand(program: Command): void {
    program.command("eval")
        .description("measure how close caches come to the stock F16 cache, on the model's weights as F16: the distributions of next " +
            "tokens, facts found in long texts, greedy answers")
        .option("--model <path>", modelHelp)
        .option("--policy <file>", "policy file (JSON) or built-in tier (default: DELTASTORE_POLICY)")
        .option("--caches <names>", `tiers of the policy, ${stockCacheNames.join(", ")}; commas between them ` +
            `(default: ${defaultCacheNames.join(",")})`, nameList)
        .option("--what <names>", `what to measure; commas between them (default: ${measurements.join(",")})`, nameListOf(measurements))
        .option("--chunks <n>", "chunks of 1,024 tokens of text whose next-token distributions are compared", wholeNumber(1, 2 ** 16), 4)
        .option("--text <file>", "text to use instead of an excerpt of WikiText-2")
        .option("--out <file>", "file (JSON) for the results; an interrupted run goes on where it stopped")
        .option("--threads <n>", "threads to compute with", wholeNumber(1, 1024))
        .option("--json", "print JSON")
        .action(evaluateCaches);
}

async function evaluateCaches({model, policy = policyFromEnvironment(process.env), caches: names, what = [...measurements], chunks,
                               text: textPath = defaultText, out, threads, json = false}: EvalOptions): Promise<void> {
    const loaded = loadPolicy(policy);
    const caches = resolveCaches(loaded, names ?? defaultCacheNames);
    const content = readText(textPath);
    const note = json ? () => undefined : printNote;

    // Stock beside stock would show nothing, so what can't be served is an error, whatever the policy says.
    const runtime = await openRuntime({
        model, policy: withWindowlessTiers(readPolicy(policy), loaded), threads, quiet: json, onUnsupported: "error",
        prepareModel: (llama, store, modelPath) => withF16Weights(llama, store, modelPath, note)
    });
    try {
        await ensureServed(runtime.store, runtime.model);
        const journal = await openJournal(runtime, content, out);
        if (journal.size > 0) note(`${journal.size} results are there already, in ${out}${journalSuffix}.`);
        const report = await measure(runtime, {caches, what, chunks, content}, journal);
        if (out !== undefined) writeFileSync(out, `${JSON.stringify(report, null, 2)}\n`);
        journal.remove();
        if (json) printJson(report);
        else printLine(formatReport(report));
    } finally {
        await runtime.close();
    }
}

async function openJournal({modelPath}: Runtime, content: string, out: string | undefined): Promise<Journal> {
    const {loadNative} = await import("../engine/load.js");
    return new Journal(out === undefined ? null : `${out}${journalSuffix}`, evalSetup(await loadNative(), modelPath, content));
}

interface Measuring {
    caches: EvalCache[];
    what: Measurement[];
    chunks: number;
    /** The text. */
    content: string;
}

async function measure({model, modelPath, store, threads}: Runtime, {content, ...plan}: Measuring, journal: Journal): Promise<EvalReport> {
    const {loadNative} = await import("../engine/load.js");
    const {EvalText} = await import("../eval/text.js");
    const {evaluate} = await import("../eval/run.js");
    const {canChat} = await import("../eval/dialogues.js");
    const progress = showSteps();
    try {
        const caches = await evaluate({model, store, native: await loadNative(), threads}, {...plan, text: new EvalText(model, content)}, journal,
            ({done, total, suite, cache}) => progress.onStep(done, total, `${suite}, ${cache}`));
        return {model: path.basename(modelPath), ...canChat(model) ? {} : {withoutChat: true}, date: new Date().toISOString().slice(0, 10), caches};
    } finally {
        progress.stop();
    }
}

function readText(file: string): string {
    try {
        return readFileSync(file, "utf8");
    } catch (error) {
        throw new DeltaStoreError("OPTION_INVALID", `The text ${file} can't be read: ${(error as Error).message}`, {cause: error});
    }
}

async function withF16Weights(llama: Llama, store: DeltaStore, modelPath: string, note: (text: string) => void): Promise<string> {
    const {loadNative} = await import("../engine/load.js");
    return await f16Weights(await loadNative(), modelPath, async (target) => {
        const model = await llama.loadModel({modelPath, gpuLayers: 0});
        await ensureServed(store, model);
        await model.dispose();
        note(`Quantized weights hide differences between caches. Converting them to F16, once, into ${target} ...`);
    });
}

/** @throws DeltaStoreError MODEL_UNSUPPORTED and the like */
async function ensureServed(store: DeltaStore, model: LlamaModel): Promise<void> {
    const {describeModel} = await import("../store/doctor.js");
    const {supported, code, reason} = await describeModel(store, model);
    if (!supported) throw new DeltaStoreError(code ?? "MODEL_UNSUPPORTED", reason ?? "The model can't have a packed cache");
}
