import type {LlamaModel} from "node-llama-cpp";
import t from "tap";
import {alikeDocument, alikeFacts} from "../../bench/quality/alike-facts.js";

const seeds = [1, 2, 3, 4];

t.test("each fact stands in the text once, with a number of its own", async (t) => {
    const numbers = new Set<string>();
    for (const seed of seeds) {
        const {text, facts} = alikeFacts(seed);
        t.equal(facts.length, 12);
        t.strictSame(text.match(/The number of the .+? is \d+\./g), facts.map(({thing, number}) => `The number of the ${thing} is ${number}.`));
        for (const {number} of facts) {
            t.match(number, /^\d{5}$/);
            numbers.add(number);
        }
    }
    t.equal(numbers.size, 48, "no number twice");
});

t.test("a seed gives the same text again, another seed another", async (t) => {
    t.strictSame(alikeFacts(1), alikeFacts(1));
    t.equal(new Set(seeds.map((seed) => alikeFacts(seed).text)).size, seeds.length);
});

t.test("a question and its answer say what the text says", async (t) => {
    const bos = 1;
    /** Each letter is a token. */
    const model = {tokens: {bos}, tokenize: (text: string) => [...text].map((letter) => letter.codePointAt(0)!)} as unknown as LlamaModel;
    const textOf = (tokens: readonly number[]) => String.fromCodePoint(...tokens);
    const {text, facts} = alikeFacts(3), {tokens, asked} = alikeDocument(model, 3);
    t.equal(textOf(tokens), textOf([bos]) + text);
    t.strictSame(asked.map(({question, cue, value}) => textOf([...question, ...cue, ...value])),
        facts.map(({thing, number}) => `\nThe number of the ${thing} is ${number}`));
    t.strictSame(asked.map(({value}) => textOf(value)), facts.map(({number}) => ` ${number}`), "the number is what is scored");
});
