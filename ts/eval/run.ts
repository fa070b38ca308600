import type {LlamaModel} from "node-llama-cpp";
import type {NativeBinding} from "../engine/native.js";
import type {DeltaStore} from "../store/store.js";
import {reference, windowless, type EvalCache} from "./caches.js";
import {batchSize, EvalContext} from "./context.js";
import {generationSuite, summarizeGeneration} from "./generation.js";
import type {Journal} from "./journal.js";
import {logitsSuite, summarizeLogits, windowProtocol, worstProtocol} from "./logits.js";
import type {CacheReport, Measurement} from "./report.js";
import {retrievalSuite, summarizeRetrieval, type Asking} from "./retrieval.js";
import {runSuite, type Suite, type SuiteRunner} from "./suite.js";
import type {EvalText} from "./text.js";

/** A model in a process where contexts may have packed caches. The store's policy is one of `withWindowlessTiers`. */
export interface EvalRuntime {
    readonly model: LlamaModel;
    readonly store: DeltaStore;
    readonly native: NativeBinding;
    readonly threads: number;
}

export interface EvalPlan {
    readonly caches: readonly EvalCache[];
    readonly what: readonly Measurement[];
    readonly text: EvalText;
    /** Chunks of text whose logits are compared, see `textChunk`. */
    readonly chunks: number;
}

/** Outcomes so far, outcomes in all, and whose is next. */
export interface EvalProgress {
    done: number;
    total: number;
    suite: string;
    cache: string;
}

/** @throws DeltaStoreError OPTION_INVALID if the text is too short, before anything is evaluated; MODEL_UNSUPPORTED and the like */
export async function evaluate(runtime: EvalRuntime, {caches, what, text, chunks}: EvalPlan, journal: Journal,
                               onProgress: (progress: EvalProgress) => void = () => undefined): Promise<CacheReport[]> {
    const all = [reference, ...caches];
    const windowlessCaches = caches.map((cache) => windowless(cache, runtime.store.policy));
    const ofChosen = <S>(measurement: Measurement, suite: () => S) => what.includes(measurement) ? suite() : null;
    const suites = {
        window: ofChosen("logits", () => logitsSuite(windowProtocol, caches, text, chunks)),
        worst: ofChosen("logits", () => logitsSuite(worstProtocol, windowlessCaches, text, chunks)),
        retrieval: ofChosen("retrieval", () => retrievalSuite(all, text)),
        generation: ofChosen("generation", () => generationSuite(all, text))
    };
    const total = Object.values(suites).reduce((sum, suite) => sum + (suite === null ? 0 : suite.cases.length * suite.caches.length), 0);
    let done = 0;
    const runner: SuiteRunner = {
        journal,
        open: (cache, contextSize, sequences) => openContext(runtime, text, cache, contextSize, sequences),
        onOutcome: (suite, cache) => onProgress({done: done++, total, suite, cache})
    };
    const run = async <E, O>(suite: Suite<E, O> | null) => suite === null ? null : await runSuite(suite, reference, runner);
    const window = await run(suites.window), worst = await run(suites.worst);
    const retrieval = await run(suites.retrieval), generation = await run(suites.generation);
    return all.map(({name}) => {
        const report: CacheReport = {name};
        if (window?.has(name) && worst?.has(name))
            report.logits = {window: summarizeLogits(window.get(name)!), worst: summarizeLogits(worst.get(name)!)};
        if (retrieval !== null) {
            const summary = (asking: Asking) => summarizeRetrieval(retrieval.get(name)!, retrieval.get(reference.name)!, asking);
            report.retrieval = {unknown: summary("unknown"), known: summary("known")};
        }
        if (generation !== null) report.generation = summarizeGeneration(generation.get(name)!.flat());
        return report;
    });
}

/** Opens a context that has seen the text's beginning. What a cache takes from the first rows that it sees is then the same in all runs. */
export async function openContext({model, store, native, threads}: EvalRuntime, text: EvalText, cache: EvalCache, contextSize: number,
                                  sequences: number): Promise<EvalContext> {
    const context = await model.createContext({...cache.options, contextSize, sequences, batchSize, threads});
    const opened = new EvalContext(cache, context, store, native);
    await opened.evaluate(text.beginning(0, batchSize, "every context"), 0);
    await opened.clear();
    return opened;
}
