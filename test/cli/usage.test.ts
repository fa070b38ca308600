import {spawn} from "node:child_process";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {cliPath, root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

t.test("version and help are printed", async (t) => {
    const {version} = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {version: string};
    t.strictSame(await deltastore(["--version"]), {code: 0, stdout: `${version}\n`, stderr: ""});

    const help = await deltastore(["--help"]);
    t.equal(help.code, 0);
    for (const command of ["demo", "chat", "eval", "policy", "doctor", "Exit codes", "DELTASTORE_POLICY"])
        t.match(help.stdout, command);
    for (const command of [["demo"], ["chat"], ["eval"], ["policy", "check"], ["policy", "show"], ["doctor"]]) {
        const {code, stdout} = await deltastore([...command, "--help"]);
        t.equal(code, 0);
        t.match(stdout, `Usage: deltastore ${command.join(" ")}`);
    }
});

t.test("wrong usage ends with 2 and prints nothing to stdout", async (t) => {
    const mistakes: [string[], RegExp][] = [
        [[], /Usage: deltastore/],
        [["policy"], /Usage: deltastore policy/],
        [["dmeo"], /error OPTION_INVALID: unknown command 'dmeo'\n\(Did you mean demo\?\)/],
        [["policy", "check"], /error OPTION_INVALID: missing required argument 'file'/],
        [["policy", "check", "a", "b"], /error OPTION_INVALID: too many arguments/],
        [["demo", "--threads", "many"], /error OPTION_INVALID: .*whole number from 1 to 1024/],
        [["demo", "--policy", ""], /error OPTION_INVALID: policy is ""/],
        [["demo", "--threads", "0"], /error OPTION_INVALID: .*whole number from 1 to 1024/],
        [["chat", "--context-size", "-5"], /error OPTION_INVALID: .*whole number/],
        [["demo", "--teir", "x"], /error OPTION_INVALID: unknown option '--teir'\n\(Did you mean --tier\?\)/]
    ];
    for (const [args, pattern] of mistakes) {
        const {code, stdout, stderr} = await deltastore(args);
        t.equal(code, 2, args.join(" "));
        t.equal(stdout, "");
        t.match(stderr, pattern);
    }
    const json = await deltastore(["demo", "--json", "--nonsense"]);
    t.equal(json.code, 2);
    t.match(JSON.parse(json.stderr), {error: {code: "OPTION_INVALID", message: /--nonsense/}});
});

t.test("bad tiers, policies and models end with 1 before anything is loaded", async (t) => {
    const damaged = join(t.testdir({"model.gguf": "GGUF, but not really"}), "model.gguf");
    const failures: [string[], string][] = [
        [["demo", "--tier", "hihg"], "TIER_UNKNOWN"],
        [["chat", "--tier", "hihg"], "TIER_UNKNOWN"],
        [["chat", "--policy", "./none.json"], "POLICY_NOT_FOUND"],
        [["demo", "--policy", "high", "--tier", "stock"], "TIER_UNKNOWN"],
        [["demo", "--model", "/no/such/model.gguf"], "MODEL_NOT_FOUND"],
        [["chat", "--model", damaged], "MODEL_DAMAGED"]
    ];
    for (const [args, expected] of failures) {
        const {code, stdout, stderr} = await deltastore(args);
        t.equal(code, 1, args.join(" "));
        t.equal(stdout, "");
        t.match(stderr, `error ${expected}: `);
    }
    for (const command of [["chat"], ["demo"], ["policy", "show", "high"]]) {
        const environment = await deltastore(command, {DELTASTORE_POLICY: "./none.json"});
        t.match(environment.stderr, "error POLICY_NOT_FOUND: ", command.join(" "));
    }
});

/** Runs a command whose reader is gone before it writes. */
function withClosedPipe(args: readonly string[], closed: "stdout" | "stderr", input = ""): Promise<object> {
    return new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [cliPath, ...args]);
        child[closed].destroy();
        let rest = "";
        const open = closed === "stdout" ? child.stderr : child.stdout;
        open.setEncoding("utf8").on("data", (text: string) => { rest += text; });
        child.on("error", reject);
        child.on("close", (code, signal) => resolve({code, signal, rest}));
        child.stdin.on("error", () => undefined).end(input);
    });
}

t.test("a reader that has gone ends a command quietly", async (t) => {
    const model = await tinyPath();
    const quiet = {code: 0, signal: null, rest: ""};
    for (const args of [["--help"], ["policy", "show", "high"], ["doctor"]])
        t.strictSame(await withClosedPipe(args, "stdout"), quiet, args.join(" "));
    t.strictSame(await withClosedPipe(["chat", "--threads", "1", "--model", model], "stdout", "hello\nhello\n"), quiet, "chat");
    t.match(await withClosedPipe(["policy", "show", "hihg"], "stderr"), {signal: null, rest: ""}, "an error to nobody");
});

t.test("a piped chat prints statistics, or that the policy's fallback has none", async (t) => {
    const chat = async (name: string, policy: string) => await deltastore(
        ["chat", "--threads", "1", "--policy", policy, "--model", await tinyPath(name)], {}, "/stats\n");
    t.match(await chat("llama-head-128", "high"), {
        code: 0, stderr: "", stdout: /^0 tokens on the tier high: [\d.]+ KiB in 0 pages; stock F16 would hold 0 B\.\n$/
    });
    t.match(await chat("mamba", "high"), {code: 1, stdout: "", stderr: /^error MODEL_UNSUPPORTED: /});
    const fallback = join(t.testdir({"stock.json": '{"onUnsupported": "stock"}'}), "stock.json");
    t.match(await chat("mamba", fallback), {code: 0, stdout: "This is the stock cache, which isn't measured.\n"});
});
