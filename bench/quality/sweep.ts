/**
 * Memory against divergence of a set of configurations, beside stock's quantized caches: `npm run bench:sweep -- [--model NAME|FILE] [--set papers|scorers]
 * [--configurations A,B] [--chunks N] [--threads N] [--out FILE]`. The sets are the papers' twelve, and all scorers at several shares of the
 * rows. A picture is put beside FILE. An interrupted run goes on where it stopped.
 */
import {writeFileSync} from "node:fs";
import {parseArgs} from "node:util";
import type {EvalCache} from "../../ts/eval/caches.js";
import type {EvalText} from "../../ts/eval/text.js";
import type {Suite} from "../../ts/eval/suite.js";
import {modelOption, resultsFile} from "../support/model-option.js";
import {dist} from "../support/package.js";
import {configurationSets} from "./configurations.js";
import type {SweepPoint} from "./pareto.js";
import {SuiteBench} from "./suite-bench.js";
import {sweepChart} from "./sweep-chart.js";
import type {SweepReport} from "./sweep-report.js";

const {values} = parseArgs({options: {
    ...modelOption, set: {type: "string", default: "papers"}, configurations: {type: "string"},
    chunks: {type: "string", default: "4"}, threads: {type: "string", default: "2"},
    out: {type: "string"}
}});
const configurations = configurationSets[values.set];
if (configurations === undefined) throw new Error(`--set is "${values.set}"; there are ${Object.keys(configurationSets).join(" and ")}`);
const out = values.out ?? resultsFile(`sweep-${values.set}`, values.model);
/** Tokens of the sequence whose memory is measured. */
const tokens = 4096;

const {resolveCaches} = await dist("eval/caches.js");
const {logitsSuite, summarizeLogits, windowProtocol} = await dist("eval/logits.js");

const tiers = Object.fromEntries((values.configurations?.split(",") ?? Object.keys(configurations)).map((name) => [name, configurations[name]!]));
await using bench = await SuiteBench.open({threads: Number(values.threads), out, policy: {tiers}, model: values.model});
const caches = resolveCaches(bench.runtime.store.policy, ["stock-q8_0", "stock-q4_0", ...Object.keys(tiers)]);

function memorySuite(caches: EvalCache[], text: EvalText): Suite<void, number> {
    return {
        name: "memory", caches, contextSize: tokens, sequences: 1, cases: [`${tokens} tokens`],
        expect: () => Promise.resolve(),
        async measure(context) {
            // Stock's memory is computed. To evaluate its quantized caches would take minutes for nothing.
            if (context.cache.bitsPerValue === undefined) await context.evaluate(text.beginning(0, tokens, "the sweep"), 1);
            return context.memoryRatio();
        }
    };
}

const ratios = await bench.run(memorySuite(caches, bench.text));
const chunks = await bench.run(logitsSuite(windowProtocol, caches, bench.text, Number(values.chunks)));
const points = caches.map(({name}): SweepPoint => {
    const {kld, kldError} = summarizeLogits(chunks.get(name)!), [memoryRatio] = ratios.get(name)!;
    console.log(`${name.padEnd(18)} ${memoryRatio!.toFixed(2)}x  KLD ${kld.toFixed(5)} ± ${kldError.toFixed(5)}`);
    return {name, memoryRatio: memoryRatio!, kld, kldError};
});
writeFileSync(out.replace(/(\.json)?$/, ".svg"), sweepChart(points, tokens));
bench.finish({tokens, points} satisfies SweepReport);
