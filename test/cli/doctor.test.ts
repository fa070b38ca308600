import {writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {tinyPath} from "../support/tiny-engine.js";

t.test("doctor ends with 0 on a machine that is served", async (t) => {
    const {code, stdout} = await deltastore(["doctor"]);
    t.equal(code, 0);
    t.match(stdout, /^supported +yes$/m);
    t.match(stdout, /^engine +\/[^;]*$/m);
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

t.test("doctor tells whether a model is served, and why not", async (t) => {
    const served = await deltastore(["doctor", "--model", await tinyPath()]);
    t.equal(served.code, 0);
    t.match(served.stdout, /^model .*\.gguf\n +supported$/m);

    const path = await tinyPath("mamba");
    const refused = await deltastore(["doctor", "--json", "--model", path]);
    t.equal(refused.code, 1);
    t.match(JSON.parse(refused.stdout), {
        healthy: false, runtime: {engineLoads: true}, model: {path, supported: false, code: "MODEL_UNSUPPORTED"}
    });

    const missing = await deltastore(["doctor", "--model", "/no/such.gguf"]);
    t.equal(missing.code, 1);
    t.match(missing.stdout, /not supported \(MODEL_NOT_FOUND\)/);
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
