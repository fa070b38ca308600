import {readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {serveFile} from "../support/file-server.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(300_000);

t.test("doctor ends with 0 on a machine that is served", async (t) => {
    const {code, stdout} = await deltastore(["doctor"]);
    t.equal(code, 0);
    t.match(stdout, /^supported +yes$/m);
    t.match(stdout, /^served +3\.20\.0 \(llama\.cpp b10361\), .*3\.22\.1 \(llama\.cpp v0\.5\.0\); newer releases have to pass a self-test$/m);
    t.match(stdout, /^engine +\/\S*\/v0\.5\.0$/m, "the binary for this llama.cpp");
    t.match(stdout, /^kernels +.*\(in use\)/m);
    t.notMatch(stdout, /^problem/m);
});

t.test("doctor ends with 1 for a kernel that this processor doesn't run", async (t) => {
    const {code, stdout} = await deltastore(["doctor"], {DELTASTORE_KERNEL: "nonsense"});
    t.equal(code, 1);
    t.match(stdout, /^supported +yes$/m, "the releases are still those that are supported");
    t.match(stdout, /^engine .*; not usable$/m);
    t.match(stdout, /^problem +OPTION_INVALID: DELTASTORE_KERNEL is "nonsense"; this processor runs ("avx512", )?("avx2", )?"scalar"$/m);
    t.match(stdout, /^kernels +[^(]*scalar$/m, "those that could be used, and none is in use");

    const model = await tinyPath();
    const json = await deltastore(["doctor", "--json", "--model", model], {DELTASTORE_KERNEL: "nonsense"});
    t.equal(json.code, 1);
    t.match(JSON.parse(json.stdout), {
        healthy: false, runtime: {supported: true, engineLoads: false, problem: {code: "OPTION_INVALID"}}, model: {supported: null}
    });
});

t.test("doctor checks the environment's policy", async (t) => {
    const good = await deltastore(["doctor"], {DELTASTORE_POLICY: "exact"});
    t.equal(good.code, 0);
    t.match(good.stdout, /^policy +exact\n +valid; the default tier is exact$/m);
    const bad = await deltastore(["doctor"], {DELTASTORE_POLICY: "./none.json"});
    t.equal(bad.code, 1);
    t.match(bad.stdout, /^policy +\.\/none\.json\n +POLICY_NOT_FOUND: /m);
});

t.test("doctor prints what a model's memory is, and what there is to win", async (t) => {
    const {code, stdout} = await deltastore(["doctor", "--model", await tinyPath("gemma3")]);
    t.equal(code, 0);
    t.match(stdout, /^model .*gemma3\.gguf\n +served\narchitecture +gemma3, trained with 8,192 tokens$/m);
    t.match(stdout, /^memory +attention to all tokens, and to sliding windows\nlayers +7: 1 attend to all tokens, 6 have a window of 64 tokens$/m);
    t.match(stdout, /^limits +no rows of sliding windows are dropped by attention/m);
    t.match(stdout, /^ +2 KV heads attend to all tokens: what only a later question asks for may be lost in tiers that drop rows$/m);
    t.match(stdout, /^one sequence +tokens +8,192 +32,768 +131,072$/m);
    t.match(stdout, /^ +stock F16 +12\.5 MiB +36\.5 MiB +132\.5 MiB$/m, "4.5 MiB of windows, and 1 KiB a token");
    t.match(stdout, /^ +high +\d\.\d MiB \(3\.\d\dx\) +\d+\.\d MiB \(3\.\d\dx\) +\d+\.\d MiB \(3\.\d\dx\)$/m);
    t.notMatch(stdout, "recurrent states");
});

t.test("doctor says why a model is refused, as text and as JSON", async (t) => {
    const path = await tinyPath("mamba"), text = await deltastore(["doctor", "--model", path]);
    t.equal(text.code, 1);
    t.match(text.stdout, /^ +not served \(MODEL_UNSUPPORTED\): its memory is recurrent\narchitecture +mamba, .*\nmemory +recurrent states alone\nlayers +3: 3 are recurrent$/m);
    t.notMatch(text.stdout, "one sequence");

    const {code, stdout} = await deltastore(["doctor", "--json", "--model", path]);
    t.equal(code, 1);
    t.match(JSON.parse(stdout), {
        healthy: false, runtime: {engineLoads: true},
        model: {path, supported: false, code: "MODEL_UNSUPPORTED", memory: {name: "recurrent"}, layers: {recurrent: 3}, memoryBytes: []}
    });
});

t.test("doctor tries the policy's default tier", async (t) => {
    const path = await tinyPath("bloom-alibi");
    const {code, stdout} = await deltastore(["doctor", "--json", "--model", path], {DELTASTORE_POLICY: "recommended"});
    t.equal(code, 1);
    t.match(JSON.parse(stdout), {policy: {defaultTier: "recommended"}, model: {supported: false, code: "MODEL_UNSUPPORTED", reason: /ALiBi/}});
});

t.test("doctor reads the header of a model on a web server, and ends with a reason for what is no model", async (t) => {
    const server = await serveFile("/a/gemma3.gguf", readFileSync(await tinyPath("gemma3")));
    t.teardown(() => server.close());
    const good = await deltastore(["doctor", "--json", "--model", `${server.url}a/gemma3.gguf`]);
    t.equal(good.code, 0);
    t.match(JSON.parse(good.stdout), {healthy: true, model: {supported: true, architecture: "gemma3", window: 64}});
    for (const [path, code] of [[`${server.url}none.gguf`, "MODEL_DOWNLOAD_FAILED"], ["/no/such.gguf", "MODEL_NOT_FOUND"]] as const) {
        const wrong = await deltastore(["doctor", "--model", path]);
        t.equal(wrong.code, 1);
        t.match(wrong.stdout, new RegExp(`^model +${path}\n +not tried \\(${code}\\): `, "m"));
    }
});

t.test("doctor takes the names of models", async (t) => {
    const {code, stdout} = await deltastore(["doctor", "--json", "--model", "smollm2-135m"]);
    t.equal(code, 0);
    t.match(JSON.parse(stdout), {model: {path: /SmolLM2-135M-Instruct\.Q4_1\.gguf$/, supported: true, architecture: "llama"}});
    const unknown = await deltastore(["doctor", "--model", "smollm"]);
    t.equal(unknown.code, 1);
    t.match(unknown.stdout, /^ +not tried \(MODEL_NOT_FOUND\): There is no file smollm, and no model of that name; the names are "smollm2-135m" and "gemma-3-270m"/m);
});

t.test("doctor tells what layers on a GPU mean where there is one", async (t) => {
    // node-llama-cpp looks for files of these names.
    const names = ["libnvidia-ml.so.1", "libcuda.so.1", "libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"];
    const folder = t.testdir(Object.fromEntries(names.map((name) => [name, ""])));
    const found = {LD_LIBRARY_PATH: folder}, hints = {host: "in the machine's memory", stock: "get the stock cache", error: "are refused"};
    t.match((await deltastore(["doctor"], found)).stdout, /^gpu +.*cuda.*\n +.*in the machine's memory/m);
    for (const [gpuLayers, hint] of Object.entries(hints)) {
        const policy = join(folder, `${gpuLayers}.json`);
        writeFileSync(policy, JSON.stringify({default: "high", gpuLayers}));
        const {code, stdout} = await deltastore(["doctor"], {...found, DELTASTORE_POLICY: policy});
        t.equal(code, 0);
        t.match(stdout, new RegExp(`^gpu +.*cuda.*\\n +with layers on it, .*${hint}`, "m"));
    }
    const {runtime} = JSON.parse((await deltastore(["doctor", "--json"], found)).stdout) as {runtime: {gpus: string[]}};
    t.ok(runtime.gpus.includes("cuda"));
});
