import t from "tap";
import {dist} from "../support/paths.js";
import {failureOf} from "../support/refused-policy.js";

const {loadPolicy, policyFromEnvironment} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");
const {resolveTier, ruledTier} = await import(dist("policy/tiers.js")) as typeof import("../../dist/policy/tiers.js");

const allRows = {window: 64, windowFormat: "k8v8", sinks: 4, important: 0, eviction: null} as const;

t.test("without a policy there are the built-in tiers, and the default is high", async (t) => {
    const policy = loadPolicy(undefined);
    t.equal(policy.defaultTier, "high");
    t.equal(policy.onUnsupported, "error");
    t.equal(policy.poolLimitBytes, 0);
    t.strictSame([...policy.tiers.values()], [
        {...allRows, name: "exact", format: "f16", windowFormat: "f16"},
        {...allRows, name: "high", format: "k4v4"},
        {...allRows, name: "conservative", format: "k4v2", important: 0.1},
        {...allRows, name: "compact", format: "k3v2"},
        ...Object.entries({recommended: 0.68, balanced: 0.6, aggressive: 0.52, ultra: 0.3}).map(([name, keep]) =>
            ({...allRows, name, format: "k4v2", eviction: {schedule: "retrieval", scorer: "attention", slack: 512, keep}}))
    ]);
});

t.test("a policy's tiers, pool and fallback are read, and defaults fill the rest", async (t) => {
    const policy = loadPolicy({
        $schema: "x", version: 1, default: "fast",
        tiers: {
            fast: {format: "k4v2", window: 0},
            wide: {extends: "conservative", window: 4096, sinks: 64},
            mixed: {extends: "exact", format: "k4v4"},
            small: {extends: "compact", sinks: 0},
            fine: {extends: "compact", windowFormat: "f16", important: {share: 0.2}},
            plain: {extends: "conservative", important: {share: 0}},
            larger: {extends: "conservative", format: "k4v4"},
            sudden: {extends: "conservative", window: 0}
        },
        pool: {limit: "1.5GiB"}, onUnsupported: "stock"
    });
    t.equal(policy.defaultTier, "fast");
    t.equal(policy.poolLimitBytes, 1.5 * 2 ** 30);
    t.equal(policy.onUnsupported, "stock");
    for (const [name, expected] of Object.entries({
        fast: {format: "k4v2", window: 0}, wide: {format: "k4v2", window: 4096, sinks: 64, important: 0.1}, mixed: {format: "k4v4"},
        small: {format: "k3v2", sinks: 0}, fine: {format: "k3v2", windowFormat: "f16", important: 0.2}, plain: {format: "k4v2"},
        larger: {format: "k4v4"}, sudden: {format: "k4v2", window: 0}
    }))
        t.same(policy.tiers.get(name), {...allRows, name, ...expected});
});

t.test("eviction takes what it lacks from the extended tier, then from the defaults", async (t) => {
    const {tiers} = loadPolicy({
        tiers: {
            a: {format: "f16", window: 8, evict: {keep: 0.4}},
            b: {extends: "balanced", evict: {keep: 0, schedule: "preserveEarly", scorer: "h2o", slack: 16}},
            c: {extends: "aggressive", format: "k4v4"},
            d: {extends: "high", evict: {keep: 1}}
        }
    });
    t.strictSame([...tiers.values()].slice(-4).map(({format, window, eviction}) => [format, window, eviction]), [
        ["f16", 8, {schedule: "retrieval", scorer: "attention", slack: 512, keep: 0.4}],
        ["k4v2", 64, {schedule: "preserveEarly", scorer: "h2o", slack: 16, keep: 0}],
        ["k4v4", 64, {schedule: "retrieval", scorer: "attention", slack: 512, keep: 0.52}],
        ["k4v4", 64, {schedule: "retrieval", scorer: "attention", slack: 512, keep: 1}]
    ]);
    const {problems} = failureOf({
        tiers: {
            e: {format: "k4v2", evict: {schedule: "unifrom", slack: 3}},
            f: {format: "k4v2", evict: {keep: 1.2, scorer: "best", kep: 1}},
            g: {format: "k4v2", evict: true}
        }
    });
    t.strictSame([...problems].sort(), [
        '/tiers/e/evict/schedule: "unifrom" is not allowed; allowed are "retrieval", "shared", "uniform", "preserveEarly" and "adaptive" (did you mean "uniform"?).',
        "/tiers/e/evict/slack: 3 is not allowed; give a whole number from 16 to 65536.",
        '/tiers/e/evict: {"schedule":"unifrom","slack":3} has no "keep"; give a number from 0 to 1.',
        "/tiers/f/evict/keep: 1.2 is not allowed; give a number from 0 to 1.",
        '/tiers/f/evict/kep: 1 is in an unknown field; allowed fields are "keep", "schedule", "scorer" and "slack" (did you mean "keep"?).',
        '/tiers/f/evict/scorer: "best" is not allowed; allowed are "attention", "h2o", "snapkv" and "recency".',
        '/tiers/g/evict: true is not allowed; give an object with the fields "keep", "schedule", "scorer" and "slack".'
    ]);
});

t.test("a pool limit is a whole number of bytes, or a number with a unit", async (t) => {
    const limits: [number | string, number][] = [
        [1, 1], [123456, 123456], ["1B", 1], ["2GB", 2e9], ["512MiB", 512 * 2 ** 20], ["3 KB", 3000], ["1TiB", 2 ** 40]
    ];
    for (const [limit, bytes] of limits) t.equal(loadPolicy({pool: {limit}}).poolLimitBytes, bytes, String(limit));
    for (const limit of [0, -1, 1.5, "0MB", "0.1B", "512MIB", "512", "12 parsecs", "", true, null, "9999999TB"]) {
        const {code, problems} = failureOf({pool: {limit}});
        t.equal(code, "POLICY_INVALID");
        t.equal(problems.length, 1, `${JSON.stringify(limit)} is one problem`);
        t.match(problems[0], /^\/pool\/limit: /);
    }
    t.match(failureOf({pool: {limit: "512MIB"}}).problems[0], 'did you mean "MiB"?');
    t.match(failureOf({turns: {}}).problems, [/^\/turns: .* has no "store"/]);
    const {message, problems} = failureOf({turns: {store: "x", ttl: 0, budget: "5 bananas", key: "5ec4e7".repeat(10)}});
    t.match([...problems].sort(), [/^\/turns\/budget: .*bytes/, /^\/turns\/key: .*DELTASTORE_KEY/, /^\/turns\/ttl: 0 .* above 0/]);
    t.notMatch(message, "5ec4e7", "a secret is not printed");
});

t.test("rules and pressure are read, and each mistake in them is told by its place", async (t) => {
    t.match(loadPolicy(undefined), {rules: [], pressure: null});
    const {tiers, rules, pressure} = loadPolicy({
        tiers: {own: {format: "k4v2"}}, rules: [{name: "a*", tier: "own"}, {tokens: 500, tier: "ultra"}],
        pool: {limit: "1GiB", pressure: {tiers: ["own", "ultra"], idle: 0}}
    });
    t.strictSame(rules, [{name: "a*", tokens: 0, tier: tiers.get("own")}, {name: "*", tokens: 500, tier: tiers.get("ultra")}]);
    t.strictSame(pressure, {window: 16, tiers: [tiers.get("own"), tiers.get("ultra")], above: 0.9, idle: 0});
    t.match(loadPolicy({pool: {limit: 1, pressure: {window: 0}}}).pressure, {window: 0, tiers: []});

    const ruled = (name: string | undefined, tokens: number) => ruledTier([
        {name: "a*", tokens: 10, tier: tiers.get("ultra")!}, {name: "ab", tokens: 0, tier: tiers.get("own")!}, {name: "*", tokens: 20, tier: tiers.get("exact")!}
    ], name, tokens)?.name;
    t.strictSame([ruled("ab", 9), ruled("ab", 10), ruled("abc", 9), ruled("abc", 30), ruled(undefined, 19), ruled(undefined, 20), ruled("b", 20)],
        ["own", "ultra", undefined, "ultra", undefined, "exact", "exact"]);

    t.match([...failureOf({
        rules: [{tier: "high"}, {name: "a"}, {name: "", tier: "high"}, {tokens: 0, tier: "stock"}, 5, {name: "a", tokens: 1, tier: "hihg", idle: 3}],
        pool: {pressure: {tiers: ["ultar", "high", "high"], above: 2, idle: -1}}
    }).problems].sort(), [
        /^\/pool\/pressure\/above: 2 .*0 to 1/, /^\/pool\/pressure\/idle: -1 /, /^\/pool\/pressure\/tiers\/0: "ultar" is no tier.*"ultra"/,
        /^\/pool\/pressure\/tiers: .*different tiers' names/, /^\/pool\/pressure: .*has no effect without a limit/, /^\/rules\/0: .*neither "name" nor "tokens"/,
        /^\/rules\/1: .*no "tier"/, /^\/rules\/2\/name: "" .*at least one letter/, /^\/rules\/3\/tier: "stock" is no tier/, /^\/rules\/3\/tokens: 0 /,
        /^\/rules\/4: 5 .*"name", "tokens" and "tier"/, /^\/rules\/5\/idle: 3 /, /^\/rules\/5\/tier: "hihg" .*"high"/
    ]);
    t.match(failureOf({rules: {}, pool: {limit: 1, pressure: {window: -1}}}).problems, [/^\/pool\/pressure\/window: -1 /, /^\/rules: .*list of rules/]);
});

t.test("a tier is found by its name, and a misspelled name is told", async (t) => {
    const policy = loadPolicy({tiers: {fast: {format: "k4v2"}}});
    t.equal(resolveTier(policy, "fast").format, "k4v2");
    t.equal(resolveTier(policy, "high").format, "k4v4");
    t.throws(() => resolveTier(policy, "fats"), {
        code: "TIER_UNKNOWN",
        message: 'No tier is named "fats"; allowed are "exact", "high", "conservative", "compact", "recommended", "balanced", "aggressive", "ultra", "fast" and "stock" ' +
            '(did you mean "fast"?).'
    });
    t.throws(() => resolveTier(policy, "constructor"), {code: "TIER_UNKNOWN"});
    t.throws(() => resolveTier(policy, ""), {code: "TIER_UNKNOWN"});
});

t.test("DELTASTORE_POLICY names the policy unless it is blank", async (t) => {
    t.equal(policyFromEnvironment({}), undefined);
    t.equal(policyFromEnvironment({DELTASTORE_POLICY: " "}), undefined);
    t.equal(policyFromEnvironment({DELTASTORE_POLICY: "tiers.json"}), "tiers.json");
});
