import {MemoryStore, type FreezeOptions, type SnapshotStore, type Turns} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence, Token} from "node-llama-cpp";
import type {Test} from "tap";
import {randomTokens} from "./engine.js";
import {openTiny} from "./tiny-engine.js";
import {policy} from "./turns-engine.js";

/** Each codec that loses a little. */
export const lossy: readonly FreezeOptions[] = [
    {codec: "transform", ratio: 8}, {codec: "vq", size: 4}, {codec: "pq", parts: 32}, {codec: "channel", keyBits: 2, valueBits: 2}
];

/** Contexts of a tiny model, and turns with conversations of it. */
export async function openCold(t: Test) {
    const {store, llama, model, modelPath} = await openTiny(t, policy);
    const createContext = (kvCache = "high", contextSize = 1024): Promise<LlamaContext> =>
        model.createContext({contextSize, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache});
    const openTurns = async (t: Test, at: string | SnapshotStore = new MemoryStore(), options: object = {}): Promise<Turns> => {
        const turns = await store.openTurns({store: at, ...options});
        t.teardown(() => turns.close());
        return turns;
    };
    /** Saves "lessons", from which codecs can learn. */
    const teach = async (turns: Turns, kvCache = "high"): Promise<void> => {
        const context = await createContext(kvCache, 2048);
        await evaluated(turns, "lessons", context.getSequence(), randomTokens(1300, 77));
        await context.dispose();
    };
    let taught: Promise<MemoryStore> | undefined;
    /** A store with "lessons", of which `transform` has learned. */
    const taughtStore = async (): Promise<MemoryStore> => await copyOf(await (taught ??= (async () => {
        const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
        await teach(turns);
        const context = await createContext();
        await evaluated(turns, "learned", context.getSequence(), randomTokens(300, 78));
        await context.dispose();
        await turns.freeze("learned", {codec: "transform"});
        await turns.delete("learned");
        return memory;
    })()));
    return {store, llama, model, modelPath, createContext, openTurns, teach, taughtStore};
}

/** Evaluates tokens, and saves a turn. */
export async function evaluated(turns: Turns, name: string, sequence: LlamaContextSequence, tokens: Token[]) {
    await sequence.evaluateWithoutGeneratingNewTokens(tokens);
    return await turns.save(name, sequence);
}

async function copyOf(memory: MemoryStore): Promise<MemoryStore> {
    const copy = new MemoryStore(), put: [string, Uint8Array][] = [], objects: [string, Uint8Array][] = [], retain: string[] = [];
    for await (const key of memory.keys("")) put.push([key, (await memory.get(key))!]);
    for await (const {name, holders} of memory.inventory()) {
        objects.push([name, (await memory.objects([name]))[0]!]);
        retain.push(...Array<string>(holders).fill(name));
    }
    await copy.step({put, objects, retain});
    return copy;
}
