import type {ChatHistoryItem, LlamaContext, LlamaContextSequence, LlamaModel, Token} from "node-llama-cpp";
import {demoPrompt, demoSystemPrompt} from "./demo-text.js";
import {createContext, type Runtime} from "./runtime.js";

/** Tokens of a timed round. */
export const prefillRound = 512;
export const decodeRound = 16;

const decodeRounds = 5;
const leastContextSize = 4096;
/** Last positions of prompt and answer, where the most likely next tokens are compared. */
const comparedPositions = 256;

/** What one kind of cache did with the demo's prompt and question. */
export interface CacheRun {
    /** A tier's name, or "stock". */
    readonly cache: string;
    /** Tokens in the cache after the answer. They are the same for all caches. */
    readonly tokens: number;
    /** Null for stock, whose cache the store can't measure. */
    readonly residentBytes: number | null;
    /** What stock's F16 cache holds for as many tokens. Null for stock itself. */
    readonly stockBytes: number | null;
    /** Tokens a second, round by round. A round is as long for all caches. */
    readonly prefillRates: readonly number[];
    readonly decodeRates: readonly number[];
    readonly answer: string;
    /** The most likely next token at each compared position of stock's prompt and answer. */
    readonly nextTokens: readonly (Token | null)[];
}

interface Lane {
    readonly cache: string;
    readonly context: LlamaContext;
    readonly sequence: LlamaContextSequence;
    readonly prefillRates: number[];
    readonly decodeRates: number[];
    /** Generation goes on behind the end of the answer, so that all lanes are timed alike. */
    readonly generated: Token[];
}

/**
 * Gives the demo's document and question to the stock cache and to these tiers, in turns: so other work on the machine
 * befalls them alike. Stock's run comes first.
 * @param note is told what is being done
 * @throws DeltaStoreError MODEL_UNSUPPORTED and the like before anything is evaluated
 */
export async function runCaches(runtime: Runtime, tiers: readonly string[],
                                note: (text: string) => void): Promise<CacheRun[]> {
    const {model} = runtime;
    const prompt = await promptTokens(model);
    const contextSize = Math.max(leastContextSize, prompt.length + decodeRound * decodeRounds);
    const packed: Lane[] = [];
    for (const tier of tiers) packed.push(await openLane(runtime, tier, contextSize));
    const lanes = [await openLane(runtime, "stock", contextSize), ...packed];
    await warmUp(runtime);

    note(`Reading a document of ${prompt.length} tokens, in turns: ${lanes.map(({cache}) => cache).join(", ")} ...`);
    await prefill(lanes, prompt.slice(0, -1));
    note("Answering the question ...");
    await decode(lanes, prompt.at(-1)!);
    const measured = lanes.map(({cache, context}) => cache === "stock" ? null : runtime.store.stats(context));

    note("Comparing the most likely next tokens ...");
    const transcript = [...prompt, ...untilEnd(model, lanes[0]!.generated)];
    const first = Math.max(0, transcript.length - comparedPositions);
    for (const {sequence} of lanes) await sequence.clearHistory();
    await prefill(lanes, transcript.slice(0, first));
    const runs: CacheRun[] = [];
    for (const [index, {cache, sequence, prefillRates, decodeRates, generated}] of lanes.entries())
        runs.push({
            cache, prefillRates, decodeRates,
            tokens: prompt.length + decodeRound * decodeRounds - 1,
            residentBytes: measured[index]?.residentBytes ?? null,
            stockBytes: measured[index]?.stockBytes ?? null,
            answer: answerText(model, generated),
            nextTokens: await mostLikelyTokens(sequence, transcript.slice(first))
        });
    return runs;
}

async function promptTokens(model: LlamaModel): Promise<Token[]> {
    const {resolveChatWrapper} = await import("node-llama-cpp");
    const wrapper = resolveChatWrapper(model);
    const chatHistory: ChatHistoryItem[] = [
        ...wrapper.generateInitialChatHistory({systemPrompt: demoSystemPrompt}),
        {type: "user", text: demoPrompt}, {type: "model", response: []}
    ];
    return wrapper.generateContextState({chatHistory}).contextText.tokenize(model.tokenizer);
}

async function openLane(runtime: Runtime, cache: string, contextSize: number): Promise<Lane> {
    const context = await createContext(runtime, cache, contextSize);
    return {cache, context, sequence: context.getSequence(), prefillRates: [], decodeRates: [], generated: []};
}

/** Reads the weights once, so that the first round doesn't have to. */
async function warmUp(runtime: Runtime): Promise<void> {
    const context = await createContext(runtime, "stock", 256);
    await context.getSequence().evaluateWithoutGeneratingNewTokens(runtime.model.tokenize("Good morning."));
    await context.dispose();
}

async function prefill(lanes: readonly Lane[], tokens: readonly Token[]): Promise<void> {
    for (let start = 0, round = 0; start < tokens.length; start += prefillRound, round++) {
        const part = tokens.slice(start, start + prefillRound);
        for (const {sequence, prefillRates} of inTurn(lanes, round)) {
            const rate = await timed(part.length, () => sequence.evaluateWithoutGeneratingNewTokens(part));
            if (part.length === prefillRound) prefillRates.push(rate);
        }
    }
}

async function decode(lanes: readonly Lane[], token: Token): Promise<void> {
    const streams = new Map(lanes.map((lane) =>
        [lane, lane.sequence.evaluate([token], {temperature: 0, yieldEogToken: true})]));
    for (let round = 0; round < decodeRounds; round++)
        for (const lane of inTurn(lanes, round))
            lane.decodeRates.push(await timed(decodeRound, async () => {
                for (let i = 0; i < decodeRound; i++) lane.generated.push((await streams.get(lane)!.next()).value!);
            }));
    for (const stream of streams.values()) await stream.return();
}

/** The lanes, with another one first in each round. */
function inTurn(lanes: readonly Lane[], round: number): Lane[] {
    const first = round % lanes.length;
    return [...lanes.slice(first), ...lanes.slice(0, first)];
}

/** Tokens a second. */
async function timed(tokens: number, work: () => Promise<void>): Promise<number> {
    const start = performance.now();
    await work();
    return tokens * 1000 / (performance.now() - start);
}

function untilEnd(model: LlamaModel, tokens: readonly Token[]): Token[] {
    const end = tokens.findIndex((token) => model.isEogToken(token));
    return tokens.slice(0, end === -1 ? undefined : end);
}

function answerText(model: LlamaModel, generated: readonly Token[]): string {
    const tokens = untilEnd(model, generated);
    return model.detokenize(tokens).trim() + (tokens.length === generated.length ? " …" : "");
}

async function mostLikelyTokens(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<(Token | null)[]> {
    const outputs = await sequence.controlledEvaluate(tokens.map((token) =>
        [token, {generateNext: {token: true, options: {temperature: 0}}}]));
    return outputs.map((output) => output?.next.token ?? null);
}
