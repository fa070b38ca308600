import type {LlamaContextSequence, Token} from "node-llama-cpp";
import {demoPrompt, demoSystemPrompt} from "./demo-text.js";
import {createContext, type Runtime} from "./runtime.js";

const contextSize = 4096;
const answerTokens = 64;
/** Positions of prompt and answer at which the most likely next tokens are compared. */
const comparedPositions = 256;

/** What one kind of cache did with the demo's prompt and question. */
export interface CacheRun {
    /** A tier's name, or "stock". */
    readonly cache: string;
    readonly tokens: number;
    /** Null for stock, which the store can't measure. */
    readonly residentBytes: number | null;
    /** What stock F16 holds for as many tokens; null for stock itself. */
    readonly stockBytes: number | null;
    readonly prefillTokensPerSecond: number;
    readonly decodeTokensPerSecond: number;
    readonly answer: string;
    /** Prompt and answer as evaluated. */
    readonly transcript: readonly Token[];
    /** The most likely next token at each compared position of the replayed transcript. */
    readonly nextTokens: readonly (Token | null)[];
}

/** Reads the weights once, so that the first measured run doesn't pay for it. */
export async function warmUp(runtime: Runtime): Promise<void> {
    const context = await createContext(runtime, "stock", 256);
    try {
        await context.getSequence().evaluateWithoutGeneratingNewTokens(runtime.model.tokenize("Good morning."));
    } finally {
        await context.dispose();
    }
}

/**
 * Puts the demo's document and question to one kind of cache: a tier's name or "stock". Next tokens are compared on the
 * transcript `replay`, or on the run's own if absent.
 */
export async function runCache(runtime: Runtime, cache: string, replay?: readonly Token[]): Promise<CacheRun> {
    const {LlamaChatSession} = await import("node-llama-cpp");
    const context = await createContext(runtime, cache, contextSize);
    try {
        const sequence = context.getSequence();
        const session = new LlamaChatSession({contextSequence: sequence, systemPrompt: demoSystemPrompt});

        const prefillStart = performance.now();
        await session.preloadPrompt(demoPrompt);
        const prefillSeconds = (performance.now() - prefillStart) / 1000;
        const prefillTokens = sequence.nextTokenIndex;

        let generated = 0;
        let firstAt = 0;
        let firstCount = 0;
        let lastAt = 0;
        const answer = await session.prompt(demoPrompt, {
            maxTokens: answerTokens, temperature: 0, repeatPenalty: false,
            onToken(tokens) {
                generated += tokens.length;
                lastAt = performance.now();
                if (firstAt === 0) [firstAt, firstCount] = [lastAt, generated];
            }
        });

        const transcript = sequence.contextTokens;
        const stats = cache === "stock" ? null : runtime.store.stats(context);
        session.dispose({disposeSequence: false});
        const nextTokens = await mostLikelyTokens(sequence, replay ?? transcript);
        return {
            cache, answer: answer.trim(), transcript, nextTokens,
            tokens: stats?.tokens ?? transcript.length,
            residentBytes: stats?.residentBytes ?? null,
            stockBytes: stats?.stockBytes ?? null,
            prefillTokensPerSecond: prefillTokens / prefillSeconds,
            decodeTokensPerSecond: (generated - firstCount) / ((lastAt - firstAt) / 1000)
        };
    } finally {
        await context.dispose();
    }
}

async function mostLikelyTokens(sequence: LlamaContextSequence,
                                transcript: readonly Token[]): Promise<(Token | null)[]> {
    await sequence.clearHistory();
    const first = Math.max(0, transcript.length - comparedPositions);
    const outputs = await sequence.controlledEvaluate(transcript.map((token, index) =>
        index < first ? token : [token, {generateNext: {token: true, options: {temperature: 0}}}]));
    return outputs.slice(first).map((output) => output?.next.token ?? null);
}
