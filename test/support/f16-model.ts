import {randomUUID} from "node:crypto";
import {existsSync} from "node:fs";
import {rename} from "node:fs/promises";
import {nativeBinding} from "./engine.js";
import {dist} from "./paths.js";

const {resolveDemoModel} = await import(dist("models/fetch.js")) as typeof import("../../dist/models/fetch.js");

/** Path of the demo's model, fetched if need be. */
export function demoModelPath(): Promise<string> {
    return resolveDemoModel();
}

/**
 * Path of the demo's model with F16 weights, made beside it on first use: on quantized weights llama.cpp rounds activations
 * too, which parts any two exact caches sooner or later. A Llama instance must have been made before.
 */
export async function f16ModelPath(): Promise<string> {
    const source = await resolveDemoModel();
    const target = source.replace(/(\.Q\w+)?\.gguf$/, ".F16.gguf");
    if (existsSync(target)) return target;
    const unfinished = `${target}.${randomUUID()}`;
    await (await nativeBinding()).convertWeightsToF16(source, unfinished);
    await rename(unfinished, target);
    return target;
}
