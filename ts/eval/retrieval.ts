import type {EvalCache} from "./caches.js";
import type {EvalContext} from "./context.js";
import {mostTokens, needleDocuments, type Asked} from "./needles.js";
import {estimate} from "./statistics.js";
import type {Suite} from "./suite.js";
import type {EvalText} from "./text.js";

/** A document's last tokens. A known question is evaluated together with them. A cache evicts after them. */
const lastTokens = 64;

/** Whether the question came in a later turn (unknown), or stood in the prompt after which a cache evicts (known). */
export type Asking = "unknown" | "known";

/** The answers to one document's questions. */
export interface Answers {
    /** Whether a greedy answer has the hidden value, question by question. */
    hits: boolean[];
    /** Log-probability of the hidden value. */
    logProbabilities: number[];
}

export type RetrievalOutcome = Record<Asking, Answers>;

export interface RetrievalSummary {
    questions: number;
    /** A share from 0 to 1. */
    accuracy: number;
    /** Accuracy over the reference's. Null where that is 0. */
    relative: number | null;
    /** Mean change of the hidden value's log-probability against the reference, in nats, with its standard error. */
    logProbabilityChange: number;
    logProbabilityChangeError: number;
}

/** Below this share of the reference's accuracy a cache counts as broken, whatever its KLD. */
export const brokenBelow = 0.5;

/** Facts hidden in long texts, asked for one by one in copies of the sequence. */
export function retrievalSuite(caches: readonly EvalCache[], text: EvalText): Suite<void, RetrievalOutcome> {
    const documents = needleDocuments(text);
    return {
        name: "retrieval", caches, contextSize: mostTokens, sequences: 2,
        cases: documents.map(({name}) => name),
        expect: () => Promise.resolve(),
        async measure(context, index) {
            const {tokens, needles} = documents[index]!;
            const last = tokens.slice(-lastTokens);
            await context.evaluate(tokens.slice(0, -lastTokens), 0);
            const known = await answerAll(context, needles, ({question}) => [...last, ...question]);
            await context.endPrompt(last);
            const unknown = await answerAll(context, needles, ({question}) => question);
            return {unknown, known};
        }
    };
}

/** Asks every question in a copy of the first sequence: what `prompt` gives is evaluated in one go, then the cue, then the value. */
export async function answerAll(context: EvalContext, all: readonly Asked[], prompt: (asked: Asked) => readonly number[]): Promise<Answers> {
    const answers: Answers = {hits: [], logProbabilities: []};
    for (const asked of all) {
        await context.copy(0, 1);
        await context.endPrompt(prompt(asked), 1);
        const {top, logLoss} = await context.scoreNext(await context.evaluate(asked.cue, 1, 1), asked.value, 1);
        await context.clear(1);
        answers.hits.push(asked.value.every((token, index) => token === top[index]));
        answers.logProbabilities.push(-logLoss.reduce((sum, loss) => sum + loss, 0));
    }
    return answers;
}

export function summarizeRetrieval(outcomes: readonly RetrievalOutcome[], ofReference: readonly RetrievalOutcome[],
                                   asking: Asking): RetrievalSummary {
    return summarizeAnswers(outcomes.map((outcome) => outcome[asking]), ofReference.map((outcome) => outcome[asking]));
}

export function summarizeAnswers(answers: readonly Answers[], ofReference: readonly Answers[]): RetrievalSummary {
    const all = (of: readonly Answers[]) => ({hits: of.flatMap(({hits}) => hits), logProbabilities: of.flatMap(({logProbabilities}) => logProbabilities)});
    const found = all(answers), expected = all(ofReference);
    const accuracy = shareOf(found.hits), accuracyOfReference = shareOf(expected.hits);
    const change = estimate(found.logProbabilities.map((value, index) => value - expected.logProbabilities[index]!));
    return {
        questions: found.hits.length, accuracy, relative: accuracyOfReference === 0 ? null : accuracy / accuracyOfReference,
        logProbabilityChange: change.mean, logProbabilityChangeError: change.error
    };
}

export const isBroken = ({relative}: RetrievalSummary): boolean => relative !== null && relative < brokenBelow;

function shareOf(hits: readonly boolean[]): number {
    return hits.filter((hit) => hit).length / hits.length;
}
