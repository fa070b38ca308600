import type {LlamaModel} from "node-llama-cpp";
import type {EvalText} from "./text.js";

/** What hidden facts are about. No text says them by itself. Their values are numbers of five digits. */
const subjects = [
    "the pass key of the blue door", "the telephone number of the bakery", "the serial number of the red engine",
    "the number of the lottery ticket", "the code of the library safe"
];

const lengths = [512, 1024, 2048];
const documentsPerLength = 2;
/** Tokens between the beginnings of two documents' texts, so that no two are the same. */
const stride = 640;

/** Tokens of the longest document with a question. */
export const mostTokens = Math.max(...lengths) + 256;

/** How a hidden value is asked for. */
export interface Asked {
    readonly question: readonly number[];
    /** The beginning of the answer. The value follows it. */
    readonly cue: readonly number[];
    readonly value: readonly number[];
}

export interface Needle extends Asked {
    /** From 0, the document's beginning, to 1. */
    readonly depth: number;
}

export interface NeedleDocument {
    readonly name: string;
    readonly tokens: readonly number[];
    readonly needles: readonly Needle[];
}

/** Long texts in which facts are hidden. A fact has another depth in each. */
export function needleDocuments(text: EvalText): NeedleDocument[] {
    return lengths.flatMap((length) => Array.from({length: documentsPerLength}, (_, index) => {
        const number = lengths.indexOf(length) * documentsPerLength + index;
        return hideNeedles(text, number, length);
    }));
}

function hideNeedles(text: EvalText, number: number, length: number): NeedleDocument {
    const {model} = text;
    const facts = subjects.map((subject, index) => ({subject, value: valueOf(number * subjects.length + index)}));
    const hidden = facts.map(({subject, value}) => model.tokenize(`\n${capitalized(subject)} is ${value}.\n`));
    const filler = length - hidden.reduce((sum, tokens) => sum + tokens.length, 0);
    const name = `${length} tokens, text from ${number * stride}`;
    const rest = text.beginning(number * stride, filler, `a document of ${length} with hidden facts`);
    const tokens: number[] = [];
    const needles = facts.map((_, place): Needle => {
        const fact = (place + number) % facts.length, depth = (place + 0.5) / facts.length;
        tokens.push(...rest.splice(0, Math.round(filler / facts.length * (place === 0 ? 0.5 : 1))), ...hidden[fact]!);
        return {depth, ...ask(text, facts[fact]!)};
    });
    return {name, tokens: [...tokens, ...rest], needles};
}

function ask({model}: EvalText, {subject, value}: {subject: string; value: string}): Asked {
    return {question: model.tokenize(`\nQuestion: What is ${subject}?`), ...cueAndValue(model, `\nAnswer: ${capitalized(subject)} is`, value)};
}

/** The tokens of a cue and of the value behind it. */
export function cueAndValue(model: LlamaModel, cueText: string, value: string): Omit<Asked, "question"> {
    const cue = model.tokenize(cueText), whole = model.tokenize(`${cueText} ${value}`);
    // A tokenizer may join the last of the cue's letters with what follows.
    const shared = whole.findIndex((token, index) => token !== cue[index]);
    return {cue: whole.slice(0, shared), value: whole.slice(shared)};
}

/** Five digits that look random. They differ for the first 90,000 numbers. */
function valueOf(number: number): string {
    return String(10_000 + (number + 1) * 60_493 % 90_000);
}

const capitalized = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
