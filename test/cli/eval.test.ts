import {spawn} from "node:child_process";
import {once} from "node:events";
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {setTimeout} from "node:timers/promises";
import t from "tap";
import {deltastore} from "../support/command.js";
import {cliPath} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";
import type {EvalReport} from "../../dist/eval/report.js";

t.setTimeout(300_000);

const model = await tinyPath();
const evaluate = async (...args: string[]) => await deltastore(["eval", "--threads", "1", "--model", model, ...args]);

t.test("eval prints the caches that were asked for as JSON, and writes them to a file", async (t) => {
    const folder = t.testdir({"policy.json": '{"tiers": {"tight": {"format": "k4v2", "window": 0}}}'});
    const out = join(folder, "quality.json");
    const args = ["--policy", join(folder, "policy.json"), "--caches", "stock,exact,tight,stock-q8_0", "--what", "logits", "--chunks", "1", "--out", out];
    const {code, stdout, stderr} = await evaluate(...args, "--json");
    t.equal(stderr, "");
    t.equal(code, 0);
    const report = JSON.parse(stdout) as EvalReport;
    t.strictSame(JSON.parse(readFileSync(out, "utf8")), report);
    t.notOk(existsSync(`${out}.unfinished`));
    t.match(report, {model: /^llama-head-128\.gguf$/, date: /^\d{4}-\d\d-\d\d$/});
    const [stock, exact, tight, quantized] = report.caches;
    t.strictSame(report.caches.map(({name}) => name), ["stock", "exact", "tight", "stock-q8_0"]);
    t.strictSame(Object.keys(stock!), ["name"], "the reference is not compared with itself");
    t.match(exact!.logits, {window: {positions: 512, grade: "EXCELLENT"}, worst: {positions: 512, grade: "EXCELLENT"}});
    t.ok(tight!.logits!.window.kld > 10 * exact!.logits!.window.kld, "packed rows are further away than rounding is");
    t.ok(tight!.logits!.window.memoryRatio > 2 && quantized!.logits!.window.memoryRatio === 16 / 8.5);
    t.ok(quantized!.logits!.worst.kld < tight!.logits!.worst.kld);
});

t.test("eval prints retrieval and generation beside stock", async (t) => {
    const {code, stdout, stderr} = await evaluate("--caches", "conservative", "--what", "retrieval, generation");
    t.equal(code, 0, stderr);
    t.match(stdout, /^stock +\d+\.\d% .* 0\.000 ± 0\.000 .* 0\.000 ± 0\.000$/m);
    t.match(stdout, /^conservative +\d+\.\d% .* -?\d\.\d{3} ± \d\.\d{3}( +BROKEN)?$/m);
    t.match(stdout, /^30 questions each\./m);
    t.match(stdout, /^stock +\d+\.\d ± \d+\.\d +100\.0% +\d/m, "stock's answers are its own");
    t.match(stdout, /^10 answers of at most 64 tokens, .*no chat template, so chats are left out/m);
    t.notMatch(stdout, "Next-token distributions");
});

t.test("an interrupted eval goes on where it stopped, and not with other options", async (t) => {
    const out = join(t.testdir(), "quality.json"), unfinished = `${out}.unfinished`;
    const args = ["--caches", "exact", "--what", "generation", "--out", out];
    const results = () => existsSync(unfinished) ? readFileSync(unfinished, "utf8").split("\n").length - 2 : 0;
    const interrupted = spawn(process.execPath, [cliPath, "eval", "--threads", "1", "--model", model, ...args], {stdio: "ignore"});
    while (results() < 3 && interrupted.exitCode === null) await setTimeout(20);
    interrupted.kill("SIGKILL");
    await once(interrupted, "close");
    t.notOk(existsSync(out));
    const kept = readFileSync(unfinished, "utf8");

    const {code, stderr} = await evaluate(...args);
    t.equal(code, 0);
    t.match(stderr, /^\d+ results are there already, in .*quality\.json\.unfinished\.\n$/);
    t.match(JSON.parse(readFileSync(out, "utf8")), {caches: [{name: "stock"}, {name: "exact", generation: {answers: 10}}], withoutChat: true});

    writeFileSync(unfinished, kept.replace("llama-head-128", "another"));
    const refused = await evaluate(...args);
    t.match(refused, {code: 2, stdout: "", stderr: /error OPTION_INVALID: .*quality\.json\.unfinished .* differs in "model"\. Delete it/});
    t.equal(readFileSync(unfinished, "utf8"), kept.replace("llama-head-128", "another"));
});

t.test("bad input ends before anything is evaluated", async (t) => {
    const short = join(t.testdir({"short.txt": "Too short."}), "short.txt");
    const mistakes: [string[], number, RegExp][] = [
        [["--caches", "exact,hihg"], 1, /error TIER_UNKNOWN: No tier is named "hihg".*"stock-q4_0" \(did you mean "high"\?\)/],
        [["--caches", "stock-q8"], 1, /error TIER_UNKNOWN: .*did you mean "stock-q8_0"\?/],
        [["--caches", ","], 2, /error OPTION_INVALID: .*Give names with commas/],
        [["--what", "logit"], 2, /error OPTION_INVALID: .*Allowed are "logits", "retrieval" and "generation" \(did you mean "logits"\?\)/],
        [["--chunks", "0"], 2, /error OPTION_INVALID: .*whole number from 1/],
        [["--text", "/no/such.txt"], 2, /error OPTION_INVALID: The text \/no\/such\.txt can't be read/],
        [["--text", short], 2, /error OPTION_INVALID: The text has \d+ tokens, and 4 chunks of 1024 needs 5121/],
        [["--out", "/no/such/folder/quality.json"], 2, /error OPTION_INVALID: The results can't be kept in/],
        [["--policy", "./none.json"], 1, /error POLICY_NOT_FOUND/]
    ];
    for (const [args, expected, pattern] of mistakes) {
        const {code, stdout, stderr} = await evaluate(...args);
        t.equal(code, expected, args.join(" "));
        t.equal(stdout, "");
        t.match(stderr, pattern);
    }
    t.match(await deltastore(["eval", "--model", await tinyPath("mamba")]), {code: 1, stdout: "", stderr: /^error MODEL_UNSUPPORTED: /});
});
