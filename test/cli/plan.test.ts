import {existsSync, readFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {serveFile} from "../support/file-server.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(180_000);

/** Memory comes from the system half a MiB at a time. Of a tiny model that is much, for each of the four conversations that are measured. */
const slabs = 512 * 1024 / 4;

t.test("plan prints memory, GPUs and a year's figures of each cache", async (t) => {
    const {code, stdout, stderr} = await deltastore(["plan", "--users", "50000", "--tokens", "8192", "--caches", "stock-f16,high,recommended", "--machine", "h200"]);
    t.equal(code, 0, stderr);
    t.match(stdout, /^Llama 3 8B, 14.96 GiB of weights, on NVIDIA H200/);
    t.match(stdout, /\nstock F16 +1.00 GiB +1.00x +1.00 GiB +\d+ +memory/);
    t.match(stdout, /\nhigh +\d+.\d MiB +3.\d\dx/);
    t.match(stdout, /\na year +USD +MWh +t CO2e/);
    t.match(stdout, /\nusers.count +50,000 users +given\n/);
    t.match(stdout, /- .*This release keeps it in the host's memory/);
    t.match(stdout, /Tiers that drop rows \(recommended\)/);
});

t.test("plan prints JSON and CSV, and draws", async (t) => {
    const folder = t.testdir({"scenario.json": JSON.stringify({users: {count: 10}, caches: ["stock-f16", "exact", "high"], region: {name: "sweden"}})});
    const scenario = join(folder, "scenario.json"), svg = join(folder, "plan.svg");
    const json = await deltastore(["plan", scenario, "--users", "70", "--json", "--svg", svg]);
    t.equal(json.code, 0, json.stderr);
    const {inputs, caches} = JSON.parse(json.stdout);
    t.match(inputs.find(({name}: {name: string}) => name === "users.count"), {value: 70}, "the command line counts more than the file");
    t.strictSame(caches.map(({name}: {name: string}) => name), ["stock-f16", "exact", "high"]);
    const drawn = readFileSync(svg, "utf8");
    t.match(drawn, /^<svg xmlns/);
    t.equal(drawn.match(/<polyline/g)?.length, 6);
    t.notMatch(drawn, /NaN|undefined|Infinity/);
    const csv = await deltastore(["plan", scenario, "--csv"]);
    const rows = csv.stdout.trimEnd().split("\r\n").map((row) => row.split(","));
    t.equal(rows.length, 4);
    t.ok(rows.every((row) => row.length === rows[0]!.length));
    t.equal(rows[1]![0], "stock-f16");
});

t.test("plan reads a model's header, from a file or a URL", async (t) => {
    const file = await tinyPath("gemma3"), server = await serveFile("/tiny.gguf", readFileSync(file));
    t.teardown(() => server.close());
    const outputs = await Promise.all([file, `${server.url}tiny.gguf`].map((model) => deltastore(["plan", "--model", model, "--tokens", "1024", "--json"])));
    for (const {code, stderr} of outputs) t.equal(code, 0, stderr);
    const [local, remote] = outputs.map(({stdout}) => JSON.parse(stdout));
    t.equal(local.model.parameters, remote.model.parameters);
    t.strictSame(local.caches.map(({bytes}: {bytes: number}) => bytes), remote.caches.map(({bytes}: {bytes: number}) => bytes));
    const missing = await deltastore(["plan", "--model", "lama-3-8b"]);
    t.equal(missing.code, 1);
    t.match(missing.stderr, /MODEL_NOT_FOUND: .*did you mean "llama-3-8b"/);
});

t.test("plan measures contexts on this machine, of a model with recurrent states, too", async (t) => {
    const file = await tinyPath("lfm2"), args = ["plan", "--model", file, "--tokens", "1000", "--shared", "300", "--users", "50", "--caches", "stock-f16,high,ultra", "--json"];
    const outputs = await Promise.all([[...args, "--measure"], args].map((args) => deltastore(args)));
    for (const {code, stderr} of outputs) t.equal(code, 0, stderr);
    const [measured, planned] = outputs.map(({stdout}) => JSON.parse(stdout).caches);
    t.strictSame(measured.map(({measured: is}: {measured: boolean}) => is), [false, true, true]);
    for (const [index, {name, bytesShared}] of measured.entries())
        t.ok(Math.abs(bytesShared - planned[index].bytesShared) < 0.02 * planned[index].bytesShared + slabs, `${name}: ${bytesShared}, ${planned[index].bytesShared}`);
    const [alone, computed] = await Promise.all([["--measure"], []].map((more) => deltastore(["plan", "--model", file, "--tokens", "500", "--caches", "high", "--json", ...more])));
    const [own, expected] = [alone!, computed!].map(({stdout}) => JSON.parse(stdout).caches[0].bytesShared);
    t.ok(Math.abs(own - expected) < 0.02 * expected + slabs, `nothing shared: ${own}, ${expected}`);
    const none = await deltastore(["plan", "--measure"]);
    t.equal(none.code, 1);
    t.match(none.stderr, /PLAN_INVALID: Measuring needs a model file/);
});

t.test("plan tells mistakes, and which of the paper's figures follow", async (t) => {
    const folder = t.testdir({"bad.json": JSON.stringify({users: {count: -1}, machine: {name: "h1000"}})});
    const bad = await deltastore(["plan", join(folder, "bad.json"), "--json"]);
    t.equal(bad.code, 1);
    t.equal(JSON.parse(bad.stderr).error.problems.length, 2);
    for (const args of [["--users", "0"], ["--active", "2"], ["--tokens", "x"], ["--nothing"]]) t.equal((await deltastore(["plan", ...args])).code, 2, args.join(" "));
    t.equal((await deltastore(["plan", "--weights", "halved"])).code, 1);
    const paper = await deltastore(["plan", "--preset", "one-pager-2k", "--caches", "stock-f16,recommended"]);
    t.match(paper.stdout, /saved a year at 2 USD an hour +504,000 USD +no: 70,080 +4 \* 2 \* 8760/);
    const lost = await deltastore(["plan", "--svg", join(folder, "none/plan.svg")]);
    t.equal(lost.code, 2);
    t.match(lost.stdout, /^Llama 3 8B/, "the report is there all the same");
    t.equal((await deltastore(["plan", "--json", "--csv"])).code, 2);
    t.notOk(existsSync(join(folder, "none")));
});
