import type {LlamaContext} from "node-llama-cpp";
import type {Test} from "tap";
import {randomTokens} from "./engine.js";
import {openTiny} from "./tiny-engine.js";

export const sharingTiers = {evicting: {format: "k4v2", evict: {keep: 0.5, slack: 128}}} as const;

/** What sequences have in common, and what each asks for behind it. */
export const prefix = randomTokens(500, 1), question = (number: number) => randomTokens(30, 100 + number).slice(1);

/** A Llama instance whose sequences share what they have in common, and contexts of its model. */
export async function openSharing(t: Test) {
    const engine = await openTiny(t, {tiers: sharingTiers});
    const createContext = (kvCache: string, options: object = {}): Promise<LlamaContext> =>
        engine.model.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache, ...options});
    return {...engine, createContext};
}
