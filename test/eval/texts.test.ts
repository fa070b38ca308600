import type {LlamaModel} from "node-llama-cpp";
import t from "tap";
import {dist} from "../support/paths.js";

const {EvalText} = await import(dist("eval/text.js")) as typeof import("../../dist/eval/text.js");
const {needleDocuments} = await import(dist("eval/needles.js")) as typeof import("../../dist/eval/needles.js");

const bos = 1;
/** Each letter is a token. */
const model = {
    tokens: {bos}, tokenize: (text: string) => [...text].map((letter) => letter.codePointAt(0)!)
} as unknown as LlamaModel;
const textOf = (tokens: readonly number[]) => String.fromCodePoint(...tokens);

t.test("a slice of a text has the tokens that it asks for, and a short text is told", async (t) => {
    const text = new EvalText(model, "abcdef");
    t.equal(textOf(text.slice(2, 3, "a test")), "cde");
    t.strictSame(text.beginning(0, 3, "a test"), [bos, ..."bc"].map((part) => typeof part === "string" ? part.codePointAt(0)! : part));
    t.equal(textOf(text.slice(0, 6, "a test")), "abcdef", "all of it");
    t.throws(() => text.slice(4, 3, "a test"), {code: "OPTION_INVALID", message: "The text has 6 tokens, and a test needs 7; give a longer one"});
    t.equal(textOf(new EvalText({...model, tokens: {bos: null}} as unknown as LlamaModel, "abc").beginning(0, 2, "a test")), "ab");
});

t.test("each fact is hidden once at its depth, with a value of its own", async (t) => {
    const documents = needleDocuments(new EvalText(model, "x".repeat(6000)));
    t.strictSame(documents.map(({tokens}) => tokens.length), [512, 512, 1024, 1024, 2048, 2048]);
    t.equal(new Set(documents.map(({name}) => name)).size, documents.length);
    const values = documents.flatMap(({needles}) => needles.map(({value}) => textOf(value)));
    t.equal(new Set(values).size, 30, "no value twice");
    const places = new Set<string>();
    for (const {tokens, needles} of documents) {
        t.equal(tokens[0], bos);
        t.strictSame(needles.map(({depth}) => depth), [0.1, 0.3, 0.5, 0.7, 0.9]);
        for (const {question, cue, value, depth} of needles) {
            const [, subject] = /^\nQuestion: What is (.+)\?$/.exec(textOf(question))!;
            t.match(textOf(value), /^ \d{5}$/);
            const fact = textOf([...cue, ...value]).replace("\nAnswer: ", "\n") + ".\n";
            t.match(fact.toLowerCase(), subject!);
            const at = textOf(tokens).indexOf(fact);
            t.ok(Math.abs(at / tokens.length - depth) < 0.2, `at ${at} of ${tokens.length}, for ${depth}`);
            places.add(`${subject} at ${depth}`);
        }
    }
    t.equal(places.size, 25, "every fact at every depth");
});
