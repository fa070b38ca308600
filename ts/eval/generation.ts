import type {LlamaModel, Token} from "node-llama-cpp";
import type {EvalCache} from "./caches.js";
import type {EvalContext} from "./context.js";
import {dialoguesOn, type Dialogue} from "./dialogues.js";
import {estimate, exponentialEstimate} from "./statistics.js";
import type {Suite} from "./suite.js";
import type {EvalText} from "./text.js";

/** Tokens of an answer, at most. */
export const mostTokens = 64;
/** Tokens of the longest dialogue: its passage, questions and answers. */
const contextSize = 2048;

/** A greedy answer beside the reference's. */
export interface AnswerOutcome {
    /** Tokens before the first that is not the reference's. */
    agreed: number;
    identical: boolean;
    /** Minus the log-probability of each token under the reference cache, in nats. */
    losses: number[];
}

export interface GenerationSummary {
    answers: number;
    /** Mean length of the agreement, in tokens, with its standard error. */
    agreed: number;
    agreedError: number;
    /** Share of answers that are the reference's throughout, from 0 to 1. */
    identical: number;
    /** Perplexity of the answers under the reference cache. Its standard error takes tokens as independent. */
    perplexity: number;
    perplexityError: number;
}

interface Expected {
    reference: EvalContext;
    /** The prompt of each turn and the reference's answer. */
    turns: {prompt: number[]; answer: number[]}[];
}

/** Greedy answers. Later turns of a chat stand on the reference's earlier answers: so each answer is compared by itself. */
export function generationSuite(caches: readonly EvalCache[], text: EvalText): Suite<Expected, AnswerOutcome[]> {
    const {model} = text;
    const dialogues = dialoguesOn(text);
    const isEnd = (token: number) => model.isEogToken(token as Token);
    const answerTo = async (context: EvalContext, prompt: number[]) => await context.generate(await context.moveTo(prompt), mostTokens, isEnd);
    return {
        name: "generation", caches, contextSize, sequences: 1,
        cases: dialogues.map(({name}) => name),
        async expect(openReference, index) {
            const reference = await openReference();
            return {reference, turns: await converse(model, dialogues[index]!, (prompt) => answerTo(reference, prompt))};
        },
        async measure(context, _, {reference, turns}) {
            const outcomes: AnswerOutcome[] = [];
            for (const {prompt, answer: expected} of turns) {
                const answer = await answerTo(context, prompt);
                const differing = answer.findIndex((token, index) => token !== expected[index]);
                const {logLoss} = await reference.scoreNext(await reference.moveTo(prompt), answer);
                outcomes.push({agreed: differing === -1 ? answer.length : differing, identical: differing === -1, losses: [...logLoss]});
            }
            return outcomes;
        }
    };
}

async function converse(model: LlamaModel, dialogue: Dialogue, answerTo: (prompt: number[]) => Promise<number[]>): Promise<Expected["turns"]> {
    const turns: Expected["turns"] = [], answers: string[] = [];
    while (turns.length < dialogue.turns) {
        const prompt = dialogue.prompt(answers), answer = await answerTo(prompt);
        turns.push({prompt, answer});
        answers.push(model.detokenize(answer.filter((token) => !model.isEogToken(token as Token)) as Token[]));
    }
    return turns;
}

export function summarizeGeneration(outcomes: readonly AnswerOutcome[]): GenerationSummary {
    const agreed = estimate(outcomes.map((outcome) => outcome.agreed));
    const perplexity = exponentialEstimate(outcomes.flatMap(({losses}) => losses));
    return {
        answers: outcomes.length, agreed: agreed.mean, agreedError: agreed.error,
        identical: outcomes.filter(({identical}) => identical).length / outcomes.length,
        perplexity: perplexity.mean, perplexityError: perplexity.error
    };
}
