import type {Turns} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import type {Test} from "tap";
import {openTiny, unshared} from "./tiny-engine.js";

/** What a restore says when it found everything. */
export const whole = {evaluated: 0, damaged: []};

/** Contexts, and turns on a Redis server, that end with their test. */
export async function openRedisTurns(t: Test) {
    const {store, model} = await openTiny(t, unshared);
    async function openContext(t: Test, kvCache = "high", contextSize = 1024): Promise<LlamaContext> {
        const context = await model.createContext({contextSize, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache} as object);
        t.teardown(() => context.dispose());
        return context;
    }

    async function openTurns(t: Test, url: string): Promise<Turns> {
        const turns = await store.openTurns({store: url});
        t.teardown(() => turns.close());
        return turns;
    }

    return {openContext, openTurns};
}
