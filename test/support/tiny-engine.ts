import {attach, type DeltaStore} from "llama-deltastore";
import type {Llama, LlamaModel} from "node-llama-cpp";
import type {Test} from "tap";
import {openLlama} from "./engine.js";
import {tinyModel, tinyModelPath} from "./tiny-models.js";
import type {PolicyFile} from "../../dist/policy/policy-file.js";

export interface TinyEngine {
    readonly llama: Llama;
    readonly store: DeltaStore;
    readonly model: LlamaModel;
    readonly modelPath: string;
}

/** Sequences share nothing by themselves. */
export const unshared: PolicyFile = {sharing: {automatic: false}};

export const tinyPath = (name = "llama-head-128"): Promise<string> => tinyModelPath(tinyModel(name));

export async function loadTiny(llama: Llama, name?: string): Promise<LlamaModel> {
    return await llama.loadModel({modelPath: await tinyPath(name), gpuLayers: 0});
}

/** A Llama instance with a store and a tiny model, which end with the test. */
export async function openTiny(t: Test, policy: PolicyFile = {}): Promise<TinyEngine> {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    return {llama, store: await attach(llama, {policy}), model: await loadTiny(llama), modelPath: await tinyPath()};
}
