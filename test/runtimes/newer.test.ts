import {readdirSync, readFileSync, rmSync} from "node:fs";
import {dirname, join} from "node:path";
import {getModuleVersion} from "node-llama-cpp";
import t, {type Test} from "tap";
import {changedRuntime, changeFile, installed, packageFor, releaseOf, runIn} from "../support/other-runtime.js";

// A node-llama-cpp that this build doesn't know: the installed one by another version, and with something changed.

t.setTimeout(300_000);

const newer = "3.99.0";
const served = await getModuleVersion(), release = await releaseOf(installed);

interface Report {
    healthy: boolean;
    runtime: {nodeLlamaCppVersion: string; supported: boolean; tested: boolean; engineLoads: boolean; problem: {code: string; message: string} | null; binary: string};
}

/** A copy of the package on a changed runtime. `doctor` attaches a store there. */
async function changedPackage(t: Test, name: string, version: string, changes?: Parameters<typeof changedRuntime>[2]) {
    const runtime = await changedRuntime(`changed-${name}-${process.pid}`, version, changes), folder = await packageFor(runtime, release), cache = t.testdir({});
    t.teardown(() => rmSync(dirname(dirname(runtime)), {recursive: true, force: true}));
    return {
        folder, cache,
        /** `script`: of the copy's `dist`, what becomes of its text. */
        change: (script: string, change: (text: string) => string) => changeFile(join(folder, "dist", script), change),
        async doctor(env: NodeJS.ProcessEnv = {}): Promise<Report["runtime"] & {healthy: boolean}> {
            const {output} = await runIn(folder, ["--no-warnings", "dist/cli/main.js", "doctor", "--json"], {DELTASTORE_CACHE: cache, ...env});
            const {healthy, runtime} = JSON.parse(output) as Report;
            return {healthy, ...runtime};
        }
    };
}

t.test("a newer release is tried once, and served", async (t) => {
    const {folder, cache, change, doctor} = await changedPackage(t, "newer", newer);
    t.match(await doctor(), {healthy: true, nodeLlamaCppVersion: "3.99.0", supported: true, tested: false, binary: join(folder, "build/native/Release", release)});
    const records = readdirSync(join(cache, "self-tests"));
    t.equal(records.length, 1);
    const divergences = JSON.parse(readFileSync(join(cache, "self-tests", records[0]!), "utf8").trim().split("\n").at(-1)!) as Record<string, number>;
    t.strictSame(Object.keys(divergences), ["attention", "window", "recurrent"], "all kinds of memory were compared");
    t.ok(Object.values(divergences).every((one) => one >= 0 && one < 1e-4), "and agree", divergences);

    await change("store/self-test-process.js", (text) => `process.abort();\n${text}`);
    t.match(await doctor(), {healthy: true}, "the pass is remembered");
    rmSync(join(cache, "self-tests"), {recursive: true});
    t.match(await doctor(), {
        healthy: false, supported: false, problem: {code: "RUNTIME_UNSUPPORTED", message: /self-test failed: its process ended with SIGABRT.*npm install node-llama-cpp@3\.22\.1/s}
    }, "a crash is its own process's");
});

t.test("a release whose results differ is refused", async (t) => {
    const {cache, change, doctor} = await changedPackage(t, "different", newer);
    await change("store/self-test-process.js", (text) => text.replace('logitsOf(model, "exact")', 'logitsOf(model, "compact")'));
    t.match(await doctor(), {healthy: false, problem: {code: "RUNTIME_UNSUPPORTED", message: /the tier exact diverges by [\d.e-]+ nats from the stock cache \(attention\); 0\.0001 is allowed/}});
    t.strictSame(readdirSync(cache), [], "nothing is remembered");
});

t.test("private members that are gone are named", async (t) => {
    const context = "dist/evaluator/LlamaContext/LlamaContext.js";
    const {doctor} = await changedPackage(t, "renamed", served, {
        [context]: (text) => text.replaceAll("_queuedDecodes", "_queue").replaceAll("_eraseContextTokenRanges", "_eraseRanges").replaceAll("_loadedTokenPredictions", "_predictions"),
        "dist/evaluator/LlamaModel/LlamaModel.js": (text) => text.replaceAll("_getOrLoadLora", "_lora")
    });
    const {problem, healthy} = await doctor();
    t.notOk(healthy, "although the version is one that was tested");
    t.match(problem, {code: "RUNTIME_UNSUPPORTED", message: new RegExp("relies on: LlamaContextSequence\\._eraseContextTokenRanges, LlamaModel\\._getOrLoadLora, " +
        "LlamaContext\\._queuedDecodes, LlamaContextSequence\\._loadedTokenPredictions\\. Served are")});
});

t.test("an engine that was built with other headers of node-llama-cpp's addon is not loaded", async (t) => {
    const {doctor, folder} = await changedPackage(t, "headers", newer, {
        "llama/addon/AddonContext.h": (text) => text.replace("bool disposed = false;", "bool isNew = false;\n        bool disposed = false;")
    });
    const {problem, binary} = await doctor({PATH: folder});  // no tools: nothing is built
    t.match(problem, {code: "RUNTIME_UNSUPPORTED", message: /no prebuilt engine for linux-x64 and this llama\.cpp \(\S+\), and building it needs cmake, git, c\+\+/});
    t.equal(binary, null);
});

t.test("releases before the oldest, of another major version, and with another llama.cpp are refused", async (t) => {
    for (const [name, version, changes, message] of [
        ["old", "3.19.1", {}, /^node-llama-cpp 3\.19\.1 with .* is not served\. Served are 3\.20\.0, /],
        ["major", "4.0.0", {}, /^node-llama-cpp 4\.0\.0 with .* is not served/],
        ["source", served, {"llama/binariesGithubRelease.json": (text: string) => text.replace(release, "v9.9.9")}, /is served only with the llama\.cpp v9\.9\.9 that it comes with/]
    ] as const) {
        const {doctor} = await changedPackage(t, name, version, changes);
        t.match(await doctor(), {healthy: false, supported: false, problem: {code: "RUNTIME_UNSUPPORTED", message}}, name);
    }
});
