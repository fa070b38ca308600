/**
 * What one sequence of known models takes, with stock's F16 cache and with tiers: `npm run bench:wins`. Nothing is measured. The engine computes it from
 * the shapes in bench/data/model-shapes.json.
 */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {getLlama} from "node-llama-cpp";
import type {ModelShape} from "../ts/engine/native.js";
import {dist, root} from "./support/package.js";
import {winsTable, type ModelWins} from "./wins-report.js";

/** An entry of bench/data/model-shapes.json. What is absent, the model doesn't have. */
interface KnownModel extends Pick<ModelShape, "attention">, Partial<Pick<ModelShape, "windows" | "window">> {
    model: string;
    /** Recurrent layers, and the 32-bit elements of each one's state. */
    states?: {layers: number; elements: number};
    /** Where this is known from. */
    source: string;
}

const models = JSON.parse(readFileSync(path.join(root, "bench/data/model-shapes.json"), "utf8")) as KnownModel[];
await using _ = await getLlama({gpu: false, build: "never"});  // the addon is linked against its libraries
const native = await (await dist("engine/load.js")).loadNative(), {sequenceBytes} = await dist("store/model-report.js");
const wins = models.map(({model, attention, windows = [], window = 0, states}): ModelWins => {
    const stateBytes = states === undefined ? 0 : states.layers * states.elements * Float32Array.BYTES_PER_ELEMENT;
    return {model, sequences: sequenceBytes(native, {attention, windows, window, stateBytes})};
});
console.log(winsTable(wins));
writeFileSync(path.join(root, "bench/results/wins.json"), `${JSON.stringify(wins, null, 2)}\n`);
