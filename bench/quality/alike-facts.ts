import {createHash} from "node:crypto";
import type {LlamaModel} from "node-llama-cpp";
import type {EvalCache} from "../../ts/eval/caches.js";
import type {Asked} from "../../ts/eval/needles.js";
import type {Answers} from "../../ts/eval/retrieval.js";
import type {Suite} from "../../ts/eval/suite.js";
import {dist} from "../support/package.js";

const {cueAndValue, mostTokens} = await dist("eval/needles.js");
const {answerAll} = await dist("eval/retrieval.js");

/** Each gets a number of five digits. */
const things = [
    "school gate", "post van", "garden pump", "brass key", "rowing boat", "wool shop", "night bus", "stone bridge", "parish clock", "coal barge",
    "chess club", "water tower"
];
/** Sentences before each fact. */
const sentences = 5;

const words = {
    seller: ["Mara", "Jonas", "Edith", "Pavel", "Inga"],
    goods: ["jars of honey", "pairs of boots", "bags of salt", "balls of wool", "cans of paint"],
    buyer: ["teacher", "sailor", "farmer", "nurse", "tailor"],
    town: ["Delft", "Malmo", "Trieste", "Vigo", "Galway"],
    end: ["paid at once", "paid later", "asked for a receipt", "came back twice", "sent a card"]
};

export interface AlikeFacts {
    readonly text: string;
    /** In the text's order. */
    readonly facts: readonly {thing: string; number: string}[];
}

/** Facts of one form among sentences of one form. All have numbers, and only the thing tells one fact from another. */
export function alikeFacts(seed: number): AlikeFacts {
    const draw = numbersOf(seed), oneOf = (list: readonly string[]) => list[draw(list.length)]!;
    let week = 0;
    const sentence = () => `In week ${++week} ${oneOf(words.seller)} sold ${10 + draw(90)} ${oneOf(words.goods)} at the market to a ` +
        `${oneOf(words.buyer)} from ${oneOf(words.town)}, who ${oneOf(words.end)}.`;
    const facts = things.map((thing) => ({thing, number: String(10_000 + draw(90_000))}));
    const text = facts.flatMap(({thing, number}) => [...Array.from({length: sentences}, sentence), `The number of the ${thing} is ${number}.`]).join(" ");
    return {text, facts};
}

/** Draws whole numbers from 0 to below `end`. The same seed gives the same numbers. */
function numbersOf(seed: number): (end: number) => number {
    let count = 0;
    return (end) => createHash("sha256").update(`${seed}, ${count++}`).digest().readUInt32LE() % end;
}

/** Each fact is asked for by the beginning of its sentence. */
export function alikeDocument(model: LlamaModel, seed: number): {tokens: number[]; asked: Asked[]} {
    const {text, facts} = alikeFacts(seed), {bos} = model.tokens;
    return {
        tokens: [...bos === null ? [] : [bos], ...model.tokenize(text)],
        asked: facts.map(({thing, number}) => ({question: model.tokenize(`\nThe number of the ${thing}`), ...cueAndValue(model, " is", number)}))
    };
}

/** The questions come in the turn after the text's, so a cache that evicts does not know them yet. */
export function alikeFactsSuite(caches: readonly EvalCache[], model: LlamaModel, seeds: readonly number[]): Suite<void, Answers> {
    const documents = seeds.map((seed) => alikeDocument(model, seed));
    return {
        name: "alike facts", caches, contextSize: mostTokens, sequences: 2,
        cases: documents.map(({tokens}, index) => `${tokens.length} tokens of seed ${seeds[index]}`),
        expect: () => Promise.resolve(),
        async measure(context, index) {
            const {tokens, asked} = documents[index]!;
            await context.endPrompt(tokens);
            return await answerAll(context, asked, ({question}) => question);
        }
    };
}
