import {readFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {root} from "../support/paths.js";

t.test("version and help", async (t) => {
    const {version} = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {version: string};
    t.strictSame(await deltastore(["--version"]), {code: 0, stdout: `${version}\n`, stderr: ""});

    const help = await deltastore(["--help"]);
    t.equal(help.code, 0);
    for (const command of ["demo", "chat", "policy", "doctor", "Exit codes", "DELTASTORE_POLICY"])
        t.match(help.stdout, command);
    for (const command of [["demo"], ["chat"], ["policy", "check"], ["policy", "show"], ["doctor"]]) {
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
        [["demo", "--model", "/no/such/model.gguf"], "MODEL_NOT_FOUND"],
        [["chat", "--model", damaged], "MODEL_DAMAGED"]
    ];
    for (const [args, expected] of failures) {
        const {code, stdout, stderr} = await deltastore(args);
        t.equal(code, 1, args.join(" "));
        t.equal(stdout, "");
        t.match(stderr, `error ${expected}: `);
    }
    const environment = await deltastore(["chat"], {DELTASTORE_POLICY: "./none.json"});
    t.match(environment.stderr, "error POLICY_NOT_FOUND: ");
});
