import t from "tap";
import {deltastore} from "../support/command.js";
import {tinyPath} from "../support/tiny-engine.js";

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
