import {attach} from "llama-deltastore";
import type {LlamaContext, LlamaModel, Token} from "node-llama-cpp";
import {generate, openLlama, randomTokens} from "./engine.js";
import {loadTiny} from "./tiny-engine.js";

/** The tokens that every context gets. */
export const instancePrompt = randomTokens(150, 61);

export function createSmall(model: LlamaModel, kvCache: string, options: object = {}): Promise<LlamaContext> {
    return model.createContext({contextSize: 512, threads: 1, kvCache, ...options});
}

/** An instance that the test ends itself. */
export async function openInstance() {
    const llama = await openLlama(), store = await attach(llama);
    return {llama, store, model: await loadTiny(llama)};
}

/** By tier: the 40 tokens that follow the prompt, by an instance that is closed again. */
export async function referenceTexts(): Promise<Map<string, Token[]>> {
    const {llama, model} = await openInstance(), texts = new Map<string, Token[]>();
    for (const tier of ["exact", "high"]) texts.set(tier, await generate((await createSmall(model, tier)).getSequence(), instancePrompt, 40));
    await llama.dispose();
    return texts;
}
