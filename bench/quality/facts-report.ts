import type {Answers, RetrievalSummary} from "../../ts/eval/retrieval.js";
import {table} from "../support/format.js";
import {dist} from "../support/package.js";
import {toStock} from "./eval-tables.js";

const {summarizeAnswers} = await dist("eval/retrieval.js");
const {estimate} = await dist("eval/statistics.js");

/** bench/results/facts.json. */
export interface FactsReport {
    date: string;
    processor: string;
    runtime: string;
    /** The model's file, without its folder. */
    model: string;
    /** One a text. */
    seeds: number[];
    /** Stock first. */
    caches: CacheFacts[];
}

export interface CacheFacts extends RetrievalSummary {
    name: string;
    /** Questions that were answered. */
    right: number;
    /** Mean log-probability of the right answer, in nats. */
    logProbability: number;
}

export function factsTable({caches, seeds}: FactsReport): string {
    const rows = caches.map((cache) => [cache.name, String(cache.right), ...toStock(cache)]);
    return table(["cache", "answered", "to stock", "log-probability"], rows) + `\n\n${caches[0]!.questions} questions on ${seeds.length} texts.`;
}

/** @param answers to each text's questions */
export function cacheFacts(name: string, answers: readonly Answers[], ofStock: readonly Answers[]): CacheFacts {
    return {
        name, right: answers.flatMap(({hits}) => hits).filter((hit) => hit).length,
        logProbability: estimate(answers.flatMap(({logProbabilities}) => logProbabilities)).mean, ...summarizeAnswers(answers, ofStock)
    };
}
