/**
 * What was tried and doesn't pay, or does, measured on the rows that stock's F16 cache holds: `npm run bench:findings -- [--tokens 4096] [--out FILE]`. The
 * model is the demo's with F16 weights. It takes one thread.
 */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {parseArgs} from "node:util";
import type {Findings} from "./findings-tables.js";
import {fourBitErrors, keyErrors, vectorErrors} from "./support/findings/code-errors.js";
import {receivedAttention, textRows, watchedTier} from "./support/findings/evaluated.js";
import {sharedImportance} from "./support/findings/importance.js";
import {headLikeness, layerDeltas, meanShares, timeDeltas} from "./support/findings/likeness.js";
import {lowRank} from "./support/findings/low-rank.js";
import {Transforms} from "./support/findings/transforms.js";
import {chosenModel} from "./support/model-option.js";
import {dist, root} from "./support/package.js";
import {Runtime} from "./support/runtime.js";

const {values} = parseArgs({options: {
    tokens: {type: "string", default: "4096"}, out: {type: "string", default: path.join(root, "bench/results/findings.json")}
}});
const tokens = Number(values.tokens);

const {loadNative} = await dist("engine/load.js"), {f16Weights} = await dist("eval/weights.js"), {EvalText} = await dist("eval/text.js");
await using runtime = await Runtime.open({
    threads: 1, policy: {tiers: watchedTier}, modelPath: async () => await f16Weights(await loadNative(), await chosenModel())
});
const whole = new EvalText(runtime.model, readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8"));
const own = whole.beginning(0, tokens, "the conversation"), others = whole.beginning(2 * tokens, tokens, "the other text");

/** Says how long a step took. */
async function timed<Result>(name: string, step: () => Result | Promise<Result>): Promise<Result> {
    const start = performance.now(), result = await step();
    console.log(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
    return result;
}

const attention = await timed("attention", () => receivedAttention(runtime, own));
const text = await timed("rows of the text", () => textRows(runtime, own)), other = await timed("rows of another text", () => textRows(runtime, others));
const fourBits = await timed("4-bit codes", () => fourBitErrors(text, other)), transforms = new Transforms(text, other, fourBits);
const findings: Findings = {
    model: path.basename(runtime.modelPath), date: new Date().toISOString().slice(0, 10), tokens, fourBits, meanShares: meanShares(text),
    lowRank: await timed("low rank", () => lowRank(text)),
    layerDeltas: layerDeltas(text), timeDeltas: timeDeltas(text), heads: await timed("heads", () => headLikeness(text)),
    importance: await timed("importance", () => sharedImportance(attention)),
    keys: await timed("3-bit keys", () => keyErrors(text, other)),
    vectors: await timed("code words", () => vectorErrors(text, other)),
    ownAxesCost: transforms.ownAxesCost(), headAxes: await timed("axes of a head", () => transforms.heads()),
    jointAxes: await timed("axes over layers", () => transforms.joint())
};
const short = (_: string, value: unknown) => typeof value === "number" ? Number(value.toPrecision(4)) : value;
writeFileSync(values.out, `${JSON.stringify(findings, short, 1)}\n`);
