import {randomUUID} from "node:crypto";
import {existsSync} from "node:fs";
import {open, rename, rm} from "node:fs/promises";
import {toDeltaStoreError} from "../errors.js";
import {readTensors} from "../models/gguf-header.js";
import type {NativeBinding} from "../engine/native.js";

/** F32 and F16 in `enum ggml_type`. */
const exactTypes = [0, 1];

/**
 * Path of the model with its weights as F16. The file is made beside the model on first use. A model without quantized weights is given as it is.
 *
 * With quantized weights llama.cpp rounds activations to 8 bits. That parts even two exact caches by a KL divergence of 0.003, and F16
 * weights by 0.000002.
 * @param onConvert called before the file is made
 */
export async function f16Weights(native: NativeBinding, source: string,
                                 onConvert: (target: string) => Promise<void> | void = () => undefined): Promise<string> {
    if (await hasExactWeights(source)) return source;
    const target = source.replace(/(\.gguf)?$/, ".weights-f16.gguf");
    if (existsSync(target)) return target;
    await onConvert(target);
    const unfinished = `${target}.${randomUUID()}`;
    try {
        await native.convertWeightsToF16(source, unfinished);
        await rename(unfinished, target);
    } catch (error) {
        await rm(unfinished, {force: true});
        throw toDeltaStoreError(error);
    }
    return target;
}

async function hasExactWeights(path: string): Promise<boolean> {
    const file = await open(path, "r");
    try {
        return readTensors(file.fd, (await file.stat()).size).every(({type}) => exactTypes.includes(type));
    } finally {
        await file.close();
    }
}
