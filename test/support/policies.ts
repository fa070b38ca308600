import {attach, type PolicyFile, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import type {Test} from "tap";
import {openTiny, unshared} from "./tiny-engine.js";

/** A Llama instance and a model, and how each test opens a context with a policy of its own. */
export async function openPolicies(t: Test) {
    const {llama, model} = await openTiny(t);
    const open = async (policy: PolicyFile, options: object = {}) => {
        const store = await attach(llama, {policy: {...unshared, ...policy}}), events: StoreEvent[] = [];
        store.onEvent.createListener((event) => {
            events.push(event);
        });
        const context = await model.createContext({contextSize: 1024, sequences: 64, threads: 1, flashAttention: true, batchSize: 256, ...options});
        return {store, context, events, tierOf: (sequence: LlamaContextSequence) => store.tierOf(sequence)};
    };
    return {llama, open};
}
