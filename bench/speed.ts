/**
 * Decode and prefill of each cache beside stock F16, in one process and interleaved: `npm run bench -- [--quick] [--depths 0,2048]
 * [--model NAME|FILE] [--sequences 1,8] [--caches high,exact] [--rounds N] [--threads N] [--most-cells N] [--minutes N] [--out FILE] [--add]`. Prints tables. FILE and
 * the pictures beside it are written after every point. No point is begun after `--minutes`, or with more than `--most-cells` tokens. `--add` keeps
 * the points that FILE has already, and measures the others.
 */
import {readFileSync, writeFileSync} from "node:fs";
import {cpus} from "node:os";
import path from "node:path";
import {parseArgs} from "node:util";
import {caches, reference} from "./caches.js";
import {decodeTokens, measureDecode} from "./cases/decode.js";
import {measurePrefill, prefillTokens} from "./cases/prefill.js";
import {charts} from "./charts.js";
import {SpeedFigures, type Point, type SpeedReport} from "./speed-report.js";
import {Filling} from "./support/filling.js";
import {dist, root} from "./support/package.js";
import {chosenModel, modelOption, resultsFile} from "./support/model-option.js";
import {memoryReadSpeed} from "./support/read-speed.js";
import {Runtime} from "./support/runtime.js";

const text = {type: "string"} as const;
const {values} = parseArgs({
    options: {
        ...modelOption, quick: {type: "boolean", default: false}, add: {type: "boolean", default: false}, depths: text, sequences: text, caches: text, rounds: text, minutes: text, out: text,
        threads: {...text, default: "2"}, "most-cells": {...text, default: "65536"}
    }
});
const defaults = values.quick
    ? {depths: "0,2048", sequences: "1,8", caches: "high", rounds: "2", minutes: "1.5", out: resultsFile("quick", values.model)}
    : {
        depths: "0,2048,8192,32768", sequences: "1,8,32", caches: caches.map(({name}) => name).join(), rounds: "5", minutes: "40",
        out: resultsFile("speed", values.model)
    };
const option = (name: keyof typeof defaults) => values[name] ?? defaults[name];
const ascending = (list: string) => list.split(",").map(Number).sort((a, b) => a - b);
const wanted = option("caches").split(",");
const chosen = caches.filter((cache) => cache === reference || wanted.includes(cache.name));
const effort = {rounds: Number(option("rounds")), until: performance.now() + 60_000 * Number(option("minutes"))};
const out = path.resolve(option("out"));

await using runtime = await Runtime.open({threads: Number(values.threads), modelPath: () => chosenModel(values.model)});
const filling = new Filling(runtime);
for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => {
        console.error(`${signal}: ${out} has what was finished`);
        process.exit(1);  // which runs what deletes the filling's files
    });

/** Heads with rows, by which the time of a row is told. */
function modelFigures(): SpeedReport["model"] {
    const {attention, windows, window} = runtime.shape, heads = (groups: typeof attention) => groups.reduce((sum, {count, kvHeads}) => sum + count * kvHeads, 0);
    return {file: runtime.model.filename ?? "", heads: heads(attention), windowHeads: heads(windows), window};
}

async function measure(depth: number, sequences: number): Promise<Point[]> {
    const contextSize = depth + Math.max(prefillTokens, decodeTokens(effort.rounds));
    const open = [];
    for (const cache of chosen) open.push(await runtime.openCache(cache, contextSize, sequences));
    const bytes: number[] = [];
    for (const cache of open) {
        await filling.fill(cache, depth);
        bytes.push(cache.bytes(depth));
    }
    const decode = await measureDecode(open, depth, effort);
    const prefill = sequences === 1 ? await measurePrefill(open, depth, effort, (cache) => filling.back(cache, depth)) : undefined;
    for (const cache of open) await cache.dispose();
    return open.map(({name}, i) => ({
        depth, sequences, cache: name, bytes: bytes[i]!, decode: decode[i]!, ...prefill === undefined ? {} : {prefill: prefill[i]!}
    }));
}

const {version} = JSON.parse(readFileSync(path.join(root, "node_modules/node-llama-cpp/package.json"), "utf8")) as {version: string};
const report: SpeedReport = {
    date: new Date().toISOString().slice(0, 10), processor: cpus()[0]!.model, runtime: `node-llama-cpp ${version}`,
    kernel: (await (await dist("engine/load.js")).loadNative()).kernels().selected,
    model: modelFigures(), threads: runtime.threads,
    readSpeed: await memoryReadSpeed(runtime.threads), points: []
};
if (values.add) {
    const {points, ...before} = JSON.parse(readFileSync(out, "utf8")) as SpeedReport;
    for (const key of ["processor", "runtime", "kernel", "threads"] as const)
        if (before[key] !== report[key]) throw new Error(`${out} is of ${key} ${before[key]}; this is ${report[key]}`);
    if (before.model.file !== report.model.file) throw new Error(`${out} is of ${before.model.file}; this is ${report.model.file}`);
    report.points.push(...points);
}
const figures = new SpeedFigures(report);
const digits = (_: string, value: unknown) => typeof value !== "number" || Number.isInteger(value) ? value : Number(value.toPrecision(6));
for (const sequences of ascending(option("sequences"))) {
    for (const depth of ascending(option("depths"))) {
        const start = performance.now();
        if (report.points.some((point) => point.sequences === sequences && point.depth === depth)) continue;
        if (sequences > 1 && depth * sequences > Number(values["most-cells"])) continue;
        if (start > effort.until) {
            console.error(`sequences ${sequences}, depth ${depth}: left out, --minutes are over`);
            continue;
        }
        report.points.push(...await measure(depth, sequences));
        console.error(`sequences ${sequences}, depth ${depth}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
        writeFileSync(out, JSON.stringify(report, digits, 2) + "\n");
        for (const [name, svg] of Object.entries(charts(figures))) writeFileSync(out.replace(/\.json$/, `-${name}.svg`), svg);
    }
}
console.log(`${report.processor}, kernels for ${report.kernel}, ${report.threads} threads that read ${(report.readSpeed / 2 ** 30).toFixed(1)} GiB/s\n`);
for (const render of Object.values(figures.tables)) console.log(render() + "\n");
