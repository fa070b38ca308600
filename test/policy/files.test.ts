import {writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {dist} from "../support/paths.js";
import {failureOf} from "../support/refused-policy.js";

const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");

t.test("a string is a tier's name or a file's, and mistakes in a file are told by line and column", async (t) => {
    const folder = t.testdir({
        "good.json": '\uFEFF{"default": "conservative"}',
        "bad.json": '{"default": "exact",\n  "tiers": {"a": {"format": "f16"}},\n  "pool": {"limit": 1,}\n}',
        "twice.json": '{"default": "exact",\n "default": "high"}',
        "commented.json": '{/* no */}',
        "empty.json": "",
        "word.json": "default",
        "both.json": '{"deflaut": "exact", "__proto__": {},\n          "pool": {"limit": 0,} "onUnsupported": "stock"}',
        "invalid.json": '{"default": 5, "tier": {}}'
    });
    t.equal(loadPolicy("exact").defaultTier, "exact");
    t.equal(loadPolicy(join(folder, "good.json")).defaultTier, "conservative");

    t.match(failureOf("consevrative"), {code: "TIER_UNKNOWN", message: '(did you mean "conservative"?)'});
    t.match(failureOf(join(folder, "none.json")), {code: "POLICY_NOT_FOUND", message: "none.json"});
    t.match(failureOf(folder), {code: "POLICY_NOT_FOUND", message: folder});
    t.match(failureOf(join(folder, "bad.json")), {
        code: "POLICY_INVALID", message: "bad.json", problems: [/^Line 3, column 23: a comma before "}" is not allowed\./]});
    t.match(failureOf(join(folder, "twice.json")), {
        code: "POLICY_INVALID", problems: [/^Line 2, column 2: the field "default" is given twice/]});
    t.match(failureOf(join(folder, "commented.json")), {
        code: "POLICY_INVALID", problems: [/^Line 1, column 2: comments are not allowed/]});
    for (const name of ["empty.json", "word.json"])
        t.ok(failureOf(join(folder, name)).problems.every((problem) => problem.startsWith("Line 1, ")), name);
    t.match(failureOf(join(folder, "both.json")).problems, [
        /^Line 2, column 31: a comma before "}" is not allowed/, /^Line 2, column 33: comma expected/,
        /^\/deflaut: .*\(did you mean "default"\?\)/, /^\/__proto__: /, /^\/pool\/limit: 0 /
    ]);
    t.equal(failureOf(join(folder, "both.json")).problems.length, 5, "the text's mistakes, and the fields', once each");
    t.match(failureOf(join(folder, "invalid.json")), {
        code: "POLICY_INVALID", problems: [/^\/tier: .*\(did you mean "tiers"\?\)/, /^\/default: 5 /]});

    const here = process.cwd();
    process.chdir(folder);
    t.teardown(() => process.chdir(here));
    writeFileSync("named", '{"default": "exact"}');
    t.equal(loadPolicy("named").defaultTier, "exact", "a bare word that is a file is read");
});
