import {attach, type PolicyFile, type StoreEvent} from "llama-deltastore";
import type {Llama, LlamaModel} from "node-llama-cpp";
import type {Test} from "tap";
import {openLlama, randomTokens} from "./engine.js";
import {loadTiny, tinyPath} from "./tiny-engine.js";
import {storeFolder} from "./turns.js";
import {settled} from "./waiting.js";

export const evicting = {format: "k4v2", evict: {keep: 0.6, slack: 128}} as const;

/** The tokens of every parked sequence. */
export const parkedPrompt = randomTokens(400, 1);

export interface ParkingOptions {
    policy?: PolicyFile;
    kvCache?: string;
    contextSize?: number;
    sequences?: number;
    /** Seconds. */
    park?: number;
    /** Of the store. */
    budget?: number;
}

/** A context whose idle sequences are parked in a folder, and a twin whose sequences never are. */
export async function openParking(t: Test, llama: Llama, model: LlamaModel, {policy = {}, kvCache = "high", contextSize = 1024, sequences = 4, park = 0.2, budget}: ParkingOptions = {}) {
    const folder = storeFolder(t), events: StoreEvent[] = [];
    const options = {contextSize, sequences, threads: 1, flashAttention: true, batchSize: 256, kvCache};
    const common: PolicyFile = {tiers: {evicting}, sharing: {automatic: false}, ...policy};
    const {pool: _, ...unlimited} = common;
    await attach(llama, {policy: unlimited});
    const twins = await model.createContext(options);
    const store = await attach(llama, {policy: {...common, turns: {store: folder, park, ...budget === undefined ? {} : {budget}}}}), context = await model.createContext(options);
    store.onEvent.createListener((event) => {
        if (event.context === context) events.push(event);
    });
    /** Waits until so many sequences are parked. */
    const parked = async (count: number): Promise<void> => {
        const away = new Set<number>(), until = Date.now() + 10_000;
        do {
            away.clear();
            for (const event of events) {
                if (event.type === "park") away.add(event.sequenceId);
                if (event.type === "unpark") away.delete(event.sequenceId);
            }
            if (away.size >= count) return;
            await settled(20);
        } while (Date.now() < until);
        throw new Error(`${away.size} of ${count} are parked`);
    };
    const held = () => store.stats(context).sequences.map(({id}) => id);
    const turns = await store.openTurns();
    t.teardown(async () => {
        for (const one of [context, twins]) await one.dispose();
        await turns.close();
    });
    return {folder, store, context, twins, events, parked, held, turns};
}

/** A Llama instance and a model that end with the file, and how its tests open a parking. */
export async function openParkingEngine(t: Test) {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const model = await loadTiny(llama), modelPath = await tinyPath();
    return {llama, model, modelPath, open: (t: Test, options: ParkingOptions = {}) => openParking(t, llama, model, options)};
}
