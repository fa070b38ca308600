import {attach} from "llama-deltastore";
import type {DecisionAnswers, LlamaDecisionContext} from "node-llama-cpp";
import t from "tap";
import {openLlama, rejection} from "../support/engine.js";
import {f16ModelPath} from "../support/f16-model.js";

t.setTimeout(180_000);

const llama = await openLlama();
const store = await attach(llama);
const model = await llama.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
t.teardown(() => llama.dispose());

const options = {contextSize: 1024, threads: 1, parallelQuestions: 4};
const text = "The cat sat on the mat. It was raining outside, and the dog barked at the postman all day long. ".repeat(8);
// More questions than sequences, with choices of several tokens: each copies another's state.
const questions = {
    animal: {type: "noul", instruction: "Does the text mention an animal?"},
    weather: {type: "choice", instruction: "What is the weather?", criteria: {sun: "Sunny", rain: "Rainy", snow: "Snowy"}},
    noise: {type: "score", instruction: "How noisy is it?", criteria: ["silent", "some noise", "very loud"]},
    car: {type: "noul", instruction: "Does the text mention a car?"},
    pet: {type: "choice", instruction: "Which animal barked?", criteria: {dog: null, cat: null, horse: null}},
    place: {type: "noul", instruction: "Is somebody outside?"}
} as const;

/** All probabilities of the answers. */
function figures({animal, weather, noise, car, pet, place}: DecisionAnswers<typeof questions>): number[] {
    return [animal.value, car.value, place.value, ...noise.probabilities, ...[weather, pet].flatMap(({probabilities}) => Object.values<number>(probabilities))];
}

function farthest(one: readonly number[], other: readonly number[]): number {
    return Math.max(...one.map((figure, at) => Math.abs(figure - other[at]!)));
}

async function decided<T>(kvCache: string | undefined, use: (context: LlamaDecisionContext) => Promise<T>): Promise<T> {
    const context = await model.createDecisionContext({...options, ...kvCache === undefined ? {} : {kvCache}});
    try {
        return await use(context);
    } finally {
        await context.dispose();
    }
}

const ask = async (context: LlamaDecisionContext, document = text) => figures(await context.decide(document, questions));
let stock: number[];

t.test("a decision context on the stock cache answers, and has no statistics", async (t) => {
    await decided("stock", async (context) => {
        t.notOk(store.isPacked(context));
        t.throws(() => store.stats(context), {code: "OPTION_INVALID", message: /stock cache/});
        const other = await ask(context, "Snow fell without a sound. A horse stood in the field, and nobody was there. ".repeat(4));
        stock = await ask(context);
        const distance = farthest(stock, other);
        t.ok(distance > 0.1, `another document's answers are farther away: ${distance}`);
    });
});

for (const [tier, most] of [["exact", 0.01], ["high", 0.06], ["recommended", 0.08]] as const) {
    t.test(`${tier}: several questions at once are answered as with stock's cache`, async (t) => {
        await decided(tier, async (context) => {
            t.ok(store.isPacked(context));
            for (const round of ["first", "second"]) {
                const answers = await ask(context), distance = farthest(answers, stock);
                t.ok(distance < most, `in the ${round} round by ${distance}`);
            }
            const {residentBytes, stockBytes, sequences} = store.stats(context);
            t.strictSame([...new Set(sequences.map((sequence) => sequence.tier))], [tier]);
            t.ok(sequences.length === 4 && sequences.every(({sharedBytes}) => sharedBytes > 0), "they hold the document's pages together");
            t.ok(residentBytes < stockBytes);
            const [{animal: one}, {pet: two}] = await Promise.all([context.decide(text, {animal: questions.animal}), context.decide(text, {pet: questions.pet})]);
            t.ok(Math.abs(one.value - stock[0]!) < most && Math.abs(two.probabilities.dog - stock.at(-3)!) < most, "and so are single ones, together");
        });
    });
}

t.test("a decision context has the tier that it is given, or else the policy's default", async (t) => {
    await decided(undefined, async (context) => t.match(store.stats(context), {tokens: 0, pages: 0}, "the policy's default, if it is given none"));
    t.match(await rejection(model.createDecisionContext({...options, kvCache: "hihg"})), {code: "TIER_UNKNOWN", message: /"high"\?/});
    const context = await model.createDecisionContext({...options, kvCache: "exact"});
    await context.dispose();
    t.ok(store.isPacked(context), "also when it is disposed");
    t.throws(() => store.stats(context), {code: "DISPOSED"});
    const plain = await openLlama();
    t.teardown(() => plain.dispose());
    const unattached = await plain.loadModel({modelPath: await f16ModelPath(), gpuLayers: 0});
    t.match(await rejection(unattached.createDecisionContext({...options, kvCache: "high"})), {code: "NOT_ATTACHED"});
    await (await unattached.createDecisionContext({...options, kvCache: "stock"})).dispose();
});
