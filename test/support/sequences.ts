import type {LlamaContext, LlamaModel} from "node-llama-cpp";
import type {Test} from "tap";
import {openTiny, unshared} from "./tiny-engine.js";

/** Mean divergence from stock that each tier may have, in nats; see attention-shapes.test.ts for what is measured. */
export const bounds = [["exact", 2e-4], ["high", 0.3], ["conservative", 0.6], ["compact", 0.95]] as const;

/** A Llama instance whose sequences share nothing by themselves, and contexts of its model. */
export async function openSequences(t: Test) {
    const engine = await openTiny(t, unshared), tiny = engine.model;
    const createContext = (model: LlamaModel, kvCache: string, options: object = {}): Promise<LlamaContext> =>
        model.createContext({contextSize: 512, threads: 1, flashAttention: true, kvCache, ...options});
    return {...engine, tiny, createContext};
}
