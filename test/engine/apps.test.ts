import {spawnSync} from "node:child_process";
import {cpSync, writeFileSync} from "node:fs";
import {join, resolve} from "node:path";
import t from "tap";
import {root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(120_000);

const modelPath = await tinyPath();

t.test("a linked clone with a node-llama-cpp of its own is refused, and the error names both", (t) => {
    const app = t.testdir({
        "app.mjs": `import {attach} from "llama-deltastore";
            import {getLlama} from "node-llama-cpp";
            const llama = await getLlama({gpu: false, maxThreads: 1, build: "never", logLevel: "error"});
            await attach(llama).catch(({code, message}) => console.log(JSON.stringify({code, message})));
            await llama.dispose();`,
        node_modules: {"llama-deltastore": t.fixture("symlink", resolve(root))}
    });
    const [own, apps] = [root, app].map((folder) => join(folder, "node_modules/node-llama-cpp"));
    cpSync(own!, apps!, {recursive: true});
    const {status, stdout, stderr} = spawnSync(process.execPath, ["app.mjs"], {encoding: "utf8", timeout: 60_000, cwd: app});
    t.equal(status, 0, stderr);
    const {code, message} = JSON.parse(stdout) as {code: string; message: string};
    t.equal(code, "RUNTIME_UNSUPPORTED");
    for (const part of [`another copy of node-llama-cpp, ${apps},`, `llama-deltastore's, ${own}.`, `npm install --install-links ${resolve(root)}\``])
        t.ok(message.includes(part), message);
    t.end();
});

t.test("storeOf finds the store of an app that was started with --import llama-deltastore/register", (t) => {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const {status, stdout, stderr} = spawnSync(process.execPath, [
        "--import", "llama-deltastore/register", join(root, "test/fixtures/store-of.mjs"), modelPath
    ], {encoding: "utf8", timeout: 60_000, cwd: root, env});
    t.equal(status, 0, stderr);
    t.match(JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? "null"), {packed: true, stats: {tokens: 0}});
    t.end();
});

function runApp(policy: string | undefined, register = true) {
    const {DELTASTORE_POLICY: _, ...env} = process.env;
    const child = spawnSync(process.execPath, [
        ...register ? ["--import", "llama-deltastore/register"] : [], join(root, "test/fixtures/app.mjs"), modelPath, "60"
    ], {encoding: "utf8", timeout: 60_000, cwd: root, env: policy === undefined ? env : {...env, DELTASTORE_POLICY: policy}});
    const output = /^\{.*\}$/m.exec(child.stdout)?.[0];
    return {status: child.status, stderr: child.stderr, ...output === undefined ? {} : JSON.parse(output) as {ram: number; tokens: number[]}};
}

t.test("an app that knows nothing gets packed contexts by --import llama-deltastore/register", async (t) => {
    const plain = runApp(undefined, false);
    t.match(plain, {status: 0, tokens: Array});
    const exact = runApp("exact");
    t.match(exact, {status: 0, stderr: ""});
    t.strictSame(exact.tokens, plain.tokens, "the same text");
    const byDefault = runApp(undefined);
    t.match(byDefault, {status: 0, stderr: "", tokens: {length: 60}});
    t.ok(byDefault.ram! < exact.ram!, "the default tier is packed", {high: byDefault.ram, exact: exact.ram, stock: plain.ram});

    const folder = t.testdir({"small.json": JSON.stringify({pool: {limit: 65536}})});
    const limited = runApp(join(folder, "small.json"));
    t.not(limited.status, 0);
    t.match(limited.stderr, "POOL_LIMIT_REACHED", "the policy file is used");
    const misspelled = runApp("hihg");
    t.not(misspelled.status, 0);
    t.match(misspelled.stderr, /TIER_UNKNOWN[^]*"high"|"high"[^]*TIER_UNKNOWN/, "a mistake is told at once");
    writeFileSync(join(folder, "bad.json"), '{"defalt": "exact"}');
    t.match(runApp(join(folder, "bad.json")).stderr, /default/);
});
