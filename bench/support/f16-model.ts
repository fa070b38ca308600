import {existsSync, renameSync} from "node:fs";
import type {NativeBinding} from "../../ts/native.js";
import {dist} from "./package.js";

/**
 * The demo model with its weights as F16, made on first use beside it. With quantized weights llama.cpp rounds activations to 8 bits,
 * which parts even two exact caches by a KL divergence of 0.003; with F16 weights by 0.000002.
 */
export async function f16Model(native: NativeBinding): Promise<string> {
    const {resolveDemoModel} = await dist("models/fetch.js");
    const source = await resolveDemoModel();
    const target = source.replace(/\.gguf$/, ".weights-f16.gguf");
    if (!existsSync(target)) {
        await native.convertWeightsToF16(source, `${target}.part`);
        renameSync(`${target}.part`, target);
    }
    return target;
}
