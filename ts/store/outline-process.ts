/** A process of its own, which `outline.ts` starts with a model's path and a tier. It prints the model's outline, or an error, as a line of JSON. */
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
import {loadNative} from "../engine/load.js";
import type {NativeTier} from "../engine/native.js";
import {attach} from "./attach.js";

const [path, tier] = process.argv.slice(2) as [string, string];
const print = (answer: object) => new Promise<void>((resolve) => process.stdout.write(`\n${JSON.stringify(answer)}\n`, () => resolve()));
try {
    // On a busy machine node-llama-cpp takes its binary for broken, and would build one.
    await attach(await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.disabled}));
    await print({outline: await (await loadNative()).outlineModel(path, JSON.parse(tier) as NativeTier)});
} catch (error) {
    await print({error: {code: (error as {code?: string}).code ?? "NATIVE_FAILURE", message: (error as Error).message}});
}
process.exit();
