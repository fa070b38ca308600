import t from "tap";
import {dist} from "../support/paths.js";
import {failureOf} from "../support/refused-policy.js";

const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");

t.test("every mistake is reported at once", async (t) => {
    const {code, message, problems} = failureOf({
        teirs: 1,
        version: 2,
        default: "hihg",
        tiers: {
            Fast: {format: "k4v2"},
            stock: {format: "f16"},
            high: {extends: "high", sinks: 8},
            compact: {format: "k3v2"},
            still: {extends: "exact", window: 3},
            finer: {extends: "high", important: {share: 0.1}},
            blind: {extends: "conservative", window: 0, important: {share: 0.1}},
            share: {extends: "conservative", important: {share: 0.3}},
            text: {extends: "conservative", important: {share: "0.1"}},
            none: {extends: "conservative", important: {}},
            exact8: {format: "f16", windowFormat: "k8v8", evict: {keep: 0.5}},
            "empty-one": {},
            wrong: {format: "k4v3", window: 9999, sinks: -1, windwo: 3},
            "not-a-tier": 5,
            child: {extends: "hihg"}
        },
        pool: {limti: 5},
        onUnsupported: "stcok"
    });
    t.equal(code, "POLICY_INVALID");
    const expected: [RegExp, string | null][] = [
        [/^\/teirs: 1 .*"tiers"/, "tiers"],
        [/^\/version: 2 .*1/, null],
        [/^\/default: "hihg" .*"compact"/, "high"],
        [/^\/tiers\/Fast: "Fast" /, null],
        [/^\/tiers\/stock: "stock" /, null],
        [/^\/tiers\/high: "high" is a built-in tier, which can't be redefined; .*another name, and "extends": "high"/, null],
        [/^\/tiers\/compact: "compact" is a built-in tier, which can't be redefined/, null],
        [/^\/tiers\/still\/window: 3 contradicts .*"f16"/, null],
        [/^\/tiers\/finer\/important: .* contradicts .*"k4v4"/, null],
        [/^\/tiers\/blind\/important: .* contradicts the window 0/, null],
        [/^\/tiers\/share\/important\/share: 0.3 .*0, 0.1/, null],
        [/^\/tiers\/text\/important\/share: "0.1" .*0, 0.1/, null],
        [/^\/tiers\/none\/important: .*"share"/, null],
        [/^\/tiers\/exact8\/windowFormat: "k8v8" contradicts/, null],
        [/^\/tiers\/empty-one: \{\} .*"format".*"extends"/, null],
        [/^\/tiers\/wrong\/format: "k4v3" .*"f16", "k4v4", "k4v2" and "k3v2"/, "k4v4"],
        [/^\/tiers\/wrong\/window: 9999 .*0 to 4096/, null],
        [/^\/tiers\/wrong\/sinks: -1 .*0 to 64/, null],
        [/^\/tiers\/wrong\/windwo: 3 .*"window"/, "window"],
        [/^\/tiers\/not-a-tier: 5 .*object/, null],
        [/^\/tiers\/child\/extends: "hihg" .*"exact", "high", "conservative", "compact", "recommended", "balanced", "aggressive" and "ultra"/, "high"],
        [/^\/pool\/limti: 5 .*"limit"/, "limit"],
        [/^\/onUnsupported: "stcok" .*"error" and "stock"/, "stock"]
    ];
    for (const [pattern, nearest] of expected) {
        const found = problems.filter((problem) => pattern.test(problem));
        t.equal(found.length, 1, `${pattern} is reported once`);
        if (nearest !== null) t.match(found[0], `(did you mean "${nearest}"?)`);
    }
    t.equal(problems.length, expected.length, "nothing else is reported");
    for (const problem of problems) t.ok(message.includes(problem), "the message has every problem");
});

t.test("a tier's fields must not contradict its format, and the default must be a tier", async (t) => {
    t.match(failureOf({tiers: {a: {format: "f16", window: 1, sinks: 1}}}).problems,
        [/^\/tiers\/a\/window: 1 contradicts/, /^\/tiers\/a\/sinks: 1 contradicts/]);
    t.doesNotThrow(() => loadPolicy({tiers: {a: {extends: "exact", format: "k4v4", window: 1}}}));
    t.match(failureOf({default: "fast", tiers: {slow: {format: "f16"}}}).problems,
        [/^\/default: "fast" is no tier; allowed are "exact", "high", "conservative", "compact", "recommended", "balanced", "aggressive", "ultra" and "slow"/]);
    t.match(failureOf({default: "stock"}).problems, [/^\/default: "stock" is no tier/]);
});

t.test("what is no object, or has no known field, is refused as a policy", async (t) => {
    for (const input of [null, [], 5, true]) t.match(failureOf(input).problems, [/^\(root\): /]);
    t.match(failureOf({tiers: []}).problems, [/^\/tiers: \[\] is not allowed/]);
    t.match(failureOf(JSON.parse('{"__proto__": {"default": "exact"}}')).problems, [/^\/__proto__: /]);
});
