import {spawnSync} from "node:child_process";
import {join} from "node:path";
import t from "tap";
import {root} from "../support/paths.js";

interface Report {
    modules: {source: string; dependencies: unknown[]}[];
    summary: {violations: {rule: {name: string}; from: string; to: string}[]};
}

/** Violations of the package's rules that dependency-cruiser finds in this folder's `ts/` and `bench/`. */
function cruise(folder: string): Report {
    const {stdout, stderr} = spawnSync(process.execPath, [
        join(root, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs"), "--config", join(root, ".dependency-cruiser.cjs"), "--output-type", "json", "ts", "bench"
    ], {cwd: folder, encoding: "utf8", maxBuffer: 64 << 20});
    if (!stdout.startsWith("{")) throw new Error(stderr + stdout);
    return JSON.parse(stdout) as Report;
}

const arrows = ({summary: {violations}}: Report) => violations.map(({rule, from, to}) => `${rule.name}: ${from} -> ${to}`).sort();

t.test("imports of ts/ and bench/ go down and never round", (t) => {
    const report = cruise(root), dependencies = report.modules.reduce((sum, module) => sum + module.dependencies.length, 0);
    t.ok(report.modules.length > 150 && dependencies > 700, "the files are read", {modules: report.modules.length, dependencies});
    t.strictSame(arrows(report), []);
    t.end();
});

t.test("imports that don't are found, types counted", (t) => {
    const folder = t.testdir({
        ts: {
            "errors.ts": "export type Code = string;",
            "options.ts": 'import type {Format} from "./engine/native.js";\nexport const of = (format: Format) => format;',
            engine: {"native.ts": 'import type {Code} from "../errors.js";\nexport type Format = Code;'},
            runtime: {
                "internals.ts": "export interface Internals {_lock: object}",
                "locks.ts": 'import type {Internals} from "./internals.js";\nexport type Lock = Internals["_lock"];',
                "reads.ts": 'export const read = async () => await import("../policy/load.js");'
            },
            policy: {"load.ts": "export const load = 1;"},
            context: {
                "patch-runtime.ts": 'import type {Internals} from "../runtime/internals.js";\nexport type Patched = Internals;',
                "wake.ts": 'import type {Internals} from "../runtime/internals.js";\nimport {park} from "../turns/parking.js";\nexport const wake = (of: Internals) => park(of);',
                "first.ts": 'import type {Second} from "./second.js";\nexport type First = {second: Second};',
                "second.ts": 'import type {First} from "./first.js";\nexport type Second = {first: First};'
            },
            turns: {"parking.ts": "export const park = (what: object) => what;"},
            store: {"store.ts": 'export type Report = typeof import("../eval/report.js");\nexport {bench} from "../../bench/bench.js";'},
            eval: {"report.ts": "export const report = 1;"},
            cellar: {"wine.ts": 'export type {Code} from "../errors.js";'}
        },
        bench: {"bench.ts": 'export {part} from "./part.js";\nexport const bench = 1;', "part.ts": 'export {bench as part} from "./bench.js";'}
    });
    t.strictSame(arrows(cruise(folder)), [
        "circle: bench/bench.ts -> bench/part.ts",
        "circle: ts/context/first.ts -> ts/context/second.ts",
        "floor of context/: ts/context/wake.ts -> ts/turns/parking.ts",
        "floor of options.ts: ts/options.ts -> ts/engine/native.ts",
        "floor of runtime/: ts/runtime/reads.ts -> ts/policy/load.ts",
        "floor of store/: ts/store/store.ts -> bench/bench.ts",
        "floor of store/: ts/store/store.ts -> ts/eval/report.ts",
        "no floor: ts/cellar/wine.ts -> ts/errors.ts",
        "private names: ts/context/wake.ts -> ts/runtime/internals.ts"
    ]);
    t.end();
});
