import {nativeBinding} from "./engine.js";
import {dist} from "./paths.js";

const {findModel} = await import(dist("models/fetch.js")) as typeof import("../../dist/models/fetch.js");
const {f16Weights} = await import(dist("eval/weights.js")) as typeof import("../../dist/eval/weights.js");

/** Path of the demo's model, fetched if need be. */
export function demoModelPath(): Promise<string> {
    return findModel();
}

/** Path of the demo's model with F16 weights, made beside it on first use. A Llama instance must have been made before. */
export async function f16ModelPath(): Promise<string> {
    return await f16Weights(await nativeBinding(), await findModel());
}
