import {readdirSync, readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {tinyGguf} from "../support/gguf.js";
import {dist} from "../support/paths.js";
import type {NativeBinding} from "../../dist/engine/native.js";

const {f16Weights} = await import(dist("eval/weights.js")) as typeof import("../../dist/eval/weights.js");

/** Converts by writing this text. */
const converter = (text: string) => ({
    convertWeightsToF16: (_: string, target: string) => Promise.resolve(writeFileSync(target, text))
}) as unknown as NativeBinding;
const failing = {
    convertWeightsToF16(_: string, target: string) {
        writeFileSync(target, "half of it");
        return Promise.reject(Object.assign(new Error("no room"), {code: "NATIVE_FAILURE"}));
    }
} as unknown as NativeBinding;
const q4_0 = 2, f16 = 1, bf16 = 30;

t.test("quantized weights are converted once, beside the model", async (t) => {
    const folder = t.testdir({"model.Q4.gguf": tinyGguf(q4_0)}), source = join(folder, "model.Q4.gguf");
    const told: string[] = [], target = join(folder, "model.Q4.weights-f16.gguf");
    await t.rejects(f16Weights(failing, source), {name: "DeltaStoreError", code: "NATIVE_FAILURE"});
    t.strictSame(readdirSync(folder), ["model.Q4.gguf"], "a failure leaves nothing behind");
    t.equal(await f16Weights(converter("first"), source, (path) => { told.push(path); }), target);
    t.equal(await f16Weights(converter("second"), source, (path) => { told.push(path); }), target);
    t.equal(readFileSync(target, "utf8"), "first");
    t.strictSame(told, [target]);
});

t.test("F32 and F16 weights are used as they are, and BF16 is converted", async (t) => {
    const folder = t.testdir({"f32.gguf": tinyGguf(), "f16.gguf": tinyGguf(f16), "bf16.gguf": tinyGguf(bf16)});
    for (const name of ["f32.gguf", "f16.gguf"]) t.equal(await f16Weights(failing, join(folder, name)), join(folder, name));
    t.equal(await f16Weights(converter("converted"), join(folder, "bf16.gguf")), join(folder, "bf16.weights-f16.gguf"));
});
