import type {PolicyFile} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import type {Test} from "tap";
import {randomTokens} from "./engine.js";
import {openTiny} from "./tiny-engine.js";

export const tiers = {evicting: {format: "k4v2", evict: {keep: 0.6, slack: 128}}} as const;

/** Sequences share nothing by themselves, and have a tier that evicts. */
export const policy: PolicyFile = {tiers, sharing: {automatic: false}};

export const prompt = randomTokens(500, 1);

type Options = {contextSize?: number; sequences?: number};

/** A Llama instance whose store keeps turns, and contexts of its model. */
export async function openTurnsEngine(t: Test) {
    const engine = await openTiny(t, policy);
    const createContext = (kvCache = "high", options: Options = {}, of = engine.model): Promise<LlamaContext> =>
        of.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache, ...options});
    return {...engine, createContext};
}

export function sequenceOf(context: LlamaContext, kvCache: string): LlamaContextSequence {
    return context.getSequence({kvCache} as object);
}
