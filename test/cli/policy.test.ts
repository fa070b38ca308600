import {join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";

const policies = t.testdir({
    "good.json": JSON.stringify({
        default: "fast", tiers: {fast: {format: "k4v2", window: 128}}, rules: [{name: "batch-*", tokens: 4096, tier: "ultra"}],
        pool: {limit: "1GiB", pressure: {tiers: ["compact", "ultra"]}}
    }),
    "bad.json": JSON.stringify({default: "fsat", tiers: {fast: {format: "k5v5"}}, pol: {}}),
    "doubtful.json": JSON.stringify({rules: [{tokens: 5, tier: "high"}, {tokens: 9, tier: "ultra"}], pool: {limit: 4096}}),
    "broken.json": '{"default": "exact"\n"tiers": {}}'
});
const file = (name: string): string => join(policies, name);

t.test("policy check prints what a valid file means", async (t) => {
    const text = await deltastore(["policy", "check", file("good.json")]);
    t.equal(text.code, 0);
    t.match(text.stdout, /fast +k4v2 +128 k8v8 +4 +all +default/);
    t.match(text.stdout, /conservative +k4v2 +10% +64 k8v8 +4 +all/);
    t.match(text.stdout, /balanced +k4v2 +64 k8v8 +4 +60% +every 512: retrieval, attention/);
    t.match(text.stdout, 'rule: sequences named "batch-*" of 4096 tokens or more have ultra');
    t.match(text.stdout, "pressure: above 90% of it what was idle for 1 s has a window of 16, then becomes compact, then becomes ultra");
    t.match(text.stdout, "pool limit: 1.00 GiB");
    t.match(text.stdout, "sharing: automatic, prefixes kept in 32.00 MiB, and states, 32 tokens apart or more, in 256.0 MiB, within a context");
    t.equal(text.stderr, "");

    const json = await deltastore(["policy", "check", file("good.json"), "--json"]);
    t.equal(json.code, 0);
    t.match(JSON.parse(json.stdout), {
        valid: true, warnings: [],
        policy: {
            defaultTier: "fast", poolLimitBytes: 2 ** 30, onUnsupported: "error",
            rules: [{name: "batch-*", tokens: 4096, tier: "ultra"}], pressure: {window: 16, tiers: ["compact", "ultra"], above: 0.9, idle: 1},
            tiers: {exact: {format: "f16"}, fast: {name: "fast", format: "k4v2", window: 128, windowFormat: "k8v8", sinks: 4}}
        }
    });
});

t.test("policy check warns of what takes no effect in a valid file", async (t) => {
    const text = await deltastore(["policy", "check", file("doubtful.json")]);
    t.equal(text.code, 0);
    t.match(text.stdout, /doubtful\.json is valid\.\nwarning: \/rules\/1: .*\nwarning: \/pool\/limit: .*\n\ntier /);
    const json = await deltastore(["policy", "check", file("doubtful.json"), "--json"]);
    t.equal(json.code, 0);
    t.match(JSON.parse(json.stdout), {valid: true, warnings: [/^\/rules\/1: /, /^\/pool\/limit: /]});
});

t.test("policy check tells every mistake of an invalid file", async (t) => {
    const text = await deltastore(["policy", "check", file("bad.json")]);
    t.equal(text.code, 1);
    t.equal(text.stdout, "");
    t.match(text.stderr, /^error POLICY_INVALID: .*bad\.json has 3 mistakes:/);
    t.match(text.stderr, /^\/default: "fsat" .*did you mean "fast"/m);
    t.match(text.stderr, /^\/tiers\/fast\/format: "k5v5" /m);
    t.match(text.stderr, /^\/pol: .*did you mean "pool"/m);

    const json = await deltastore(["policy", "check", file("bad.json"), "--json"]);
    t.equal(json.code, 1);
    t.equal(json.stdout, "");
    const {error} = JSON.parse(json.stderr) as {error: {code: string; problems: string[]}};
    t.equal(error.code, "POLICY_INVALID");
    t.equal(error.problems.length, 3);
});

t.test("policy check tells what isn't JSON and what isn't there", async (t) => {
    const broken = await deltastore(["policy", "check", file("broken.json")]);
    t.equal(broken.code, 1);
    t.match(broken.stderr, "Line 2, column 1: comma expected.");

    const missing = await deltastore(["policy", "check", file("none.json")]);
    t.equal(missing.code, 1);
    t.match(missing.stderr, /^error POLICY_NOT_FOUND: /);

    const tierName = await deltastore(["policy", "check", "high"]);
    t.match(tierName.stderr, /^error POLICY_NOT_FOUND: /, "a built-in tier's name is no file");
});

t.test("policy show prints one tier, as text and as JSON", async (t) => {
    const evicting = await deltastore(["policy", "show", "aggressive"]);
    t.match(evicting.stdout, /^evict +every 512 tokens, by "attention"; "retrieval" keeps 52%$/m);
    const text = await deltastore(["policy", "show", "high"]);
    t.equal(text.code, 0);
    t.match(text.stdout, /tier +high \(default\)\nformat +k4v4: .*\nwindow .* 64 .*\nsinks .* 4 /);

    const json = await deltastore(["policy", "show", "fast", "--policy", file("good.json"), "--json"]);
    t.strictSame(JSON.parse(json.stdout), {
        name: "fast", format: "k4v2", window: 128, windowFormat: "k8v8", sinks: 4, important: 0, eviction: null, default: true
    });

    const unknown = await deltastore(["policy", "show", "hihg"]);
    t.equal(unknown.code, 1);
    t.match(unknown.stderr, /^error TIER_UNKNOWN: .*did you mean "high"/);
});
