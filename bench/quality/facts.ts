/**
 * Twelve numbers of one form in a long text, each asked for in the next turn, on stock's caches and the built-in tiers:
 * `npm run bench:facts -- [--model NAME|FILE] [--caches A,B] [--threads N] [--out FILE]`. An interrupted run goes on where it stopped.
 */
import {readFileSync} from "node:fs";
import {cpus} from "node:os";
import path from "node:path";
import {parseArgs} from "node:util";
import {modelOption, resultsFile} from "../support/model-option.js";
import {dist, root} from "../support/package.js";
import {alikeFactsSuite} from "./alike-facts.js";
import {cacheFacts, type FactsReport} from "./facts-report.js";
import {SuiteBench} from "./suite-bench.js";

const {defaultCacheNames, reference, resolveCaches} = await dist("eval/caches.js");
const seeds = [1, 2, 3, 4];

const {values} = parseArgs({options: {
    ...modelOption, caches: {type: "string", default: defaultCacheNames.join()}, threads: {type: "string", default: "2"},
    out: {type: "string"}
}});
await using bench = await SuiteBench.open({threads: Number(values.threads), out: values.out ?? resultsFile("facts", values.model), model: values.model});
const {model, store} = bench.runtime;
const suite = alikeFactsSuite([reference, ...resolveCaches(store.policy, values.caches.split(","))], model, seeds);
const answers = await bench.run(suite), ofStock = answers.get(reference.name)!;
const caches = suite.caches.map(({name}) => cacheFacts(name, answers.get(name)!, ofStock));
for (const {name, right, questions, logProbability} of caches)
    console.log(`${name.padEnd(12)} ${right} of ${questions}, log-probability ${logProbability.toFixed(2)}`);
const {version} = JSON.parse(readFileSync(path.join(root, "node_modules/node-llama-cpp/package.json"), "utf8")) as {version: string};
const report: FactsReport = {
    date: new Date().toISOString().slice(0, 10), processor: cpus()[0]!.model, runtime: `node-llama-cpp ${version}`, model: model.filename ?? "",
    seeds, caches
};
bench.finish(report);
