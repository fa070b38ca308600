import t from "tap";
import {dist} from "../support/paths.js";
import type {PolicyFile} from "../../dist/policy/policy-file.js";

const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");
const {policyWarnings} = await import(dist("policy/warnings.js")) as typeof import("../../dist/policy/warnings.js");

const warningsOf = (file: PolicyFile): string[] => policyWarnings(loadPolicy(file));
/** Of the fields that are warned of. */
const placesOf = (file: PolicyFile): string[] => warningsOf(file).map((warning) => warning.slice(0, warning.indexOf(":")));
const half = {format: "f16", evict: {keep: 0.5}} as const;

t.test("a policy that takes effect as a whole has no warnings", (t) => {
    t.strictSame(warningsOf({}), []);
    t.strictSame(warningsOf({
        rules: [{name: "batch-*", tokens: 100, tier: "ultra"}, {name: "batch-*", tier: "compact"}, {name: "batch", tier: "exact"}, {tokens: 4096, tier: "ultra"},
            {tokens: 8, tier: "high"}],
        pool: {limit: "1MiB", pressure: {tiers: ["compact", "ultra"]}}
    }), []);
    t.end();
});

t.test("a rule that never applies is warned of", (t) => {
    t.strictSame(warningsOf({rules: [{name: "batch-*", tokens: 100, tier: "ultra"}, {name: "batch-7", tokens: 100, tier: "compact"}]}), [
        '/rules/1: {"name":"batch-7","tokens":100,"tier":"compact"} never applies, because /rules/0 fits whenever it does.'
    ]);
    for (const [first, second] of [
        [{tokens: 5}, {tokens: 5}], [{tokens: 5}, {name: "a", tokens: 6}], [{name: "*"}, {tokens: 1}], [{name: "a"}, {name: "a", tokens: 9}],
        [{name: "a*"}, {name: "a*"}], [{name: "a*"}, {name: "a"}], [{name: "a*"}, {name: "ab*"}]
    ] as const)
        t.strictSame(placesOf({rules: [{...first, tier: "high"}, {...second, tier: "ultra"}]}), ["/rules/1"], JSON.stringify([first, second]));
    for (const [first, second] of [
        [{tokens: 6}, {tokens: 5}], [{name: "a"}, {tokens: 5}], [{name: "a*"}, {name: "*"}], [{name: "a*", tokens: 6}, {name: "ab", tokens: 5}],
        [{name: "ab*"}, {name: "a*"}], [{name: "a"}, {name: "ab"}], [{name: "a"}, {name: "a*"}]
    ] as const)
        t.strictSame(placesOf({rules: [{...first, tier: "high"}, {...second, tier: "ultra"}]}), [], JSON.stringify([first, second]));
    t.end();
});

t.test("a tier that an F16 context can't have is warned of", (t) => {
    const policy: PolicyFile = {
        default: "exact", tiers: {half}, rules: [{tokens: 5, tier: "high"}, {tokens: 9, tier: "half"}],
        pool: {limit: "1GiB", pressure: {tiers: ["compact", "half", "ultra"]}}
    };
    t.strictSame(warningsOf(policy), [
        '/rules/0/tier: "high" can\'t be had in a context of the default tier "exact", which has only F16 tiers.',
        '/pool/pressure/tiers/0: "compact" can\'t be had in a context of the default tier "exact", which has only F16 tiers.',
        '/pool/pressure/tiers/2: "ultra" can\'t be had in a context of the default tier "exact", which has only F16 tiers.'
    ]);
    t.strictSame(placesOf({...policy, default: "high"}), ["/rules/1", "/pool/pressure/tiers/1"], "with another default");
    t.end();
});

t.test("a tier that pressure skips is warned of", (t) => {
    const pressed = (tiers: string[], others: PolicyFile = {}) =>
        placesOf({tiers: {half}, ...others, pool: {limit: "1GiB", pressure: {tiers}}}).map((place) => Number(place.split("/").at(-1)));
    t.strictSame(pressed(["ultra", "compact"]), [1], "it is larger than the one before");
    t.strictSame(pressed(["compact", "ultra", "aggressive"]), [2]);
    t.strictSame(pressed(["high", "compact"]), [0], "it is the one that sequences have");
    t.strictSame(pressed(["ultra", "high", "compact"]), [0, 1], "the sequences' own tier comes behind it");
    t.strictSame(pressed(["high", "compact"], {rules: [{tokens: 5, tier: "exact"}]}), [], "a rule gives a larger one");
    t.strictSame(pressed(["compact"], {default: "ultra"}), [0]);
    t.match(warningsOf({pool: {limit: "1GiB", pressure: {tiers: ["ultra", "compact"]}}}), [/^\/pool\/pressure\/tiers\/1: "compact" is skipped, .* from large to small\.$/]);
    t.end();
});

t.test("a pool limit that holds next to nothing is warned of", (t) => {
    t.strictSame(warningsOf({pool: {limit: 4096}}), ["/pool/limit: 4.00 KiB can hold next to nothing. A context without room for one token is refused when it is created."]);
    t.strictSame(placesOf({pool: {limit: 2 ** 20 - 1}}), ["/pool/limit"]);
    t.strictSame(placesOf({pool: {limit: 2 ** 20}}), []);
    t.end();
});

t.test("cold steps that come too late, or can't follow the step before, are warned of", (t) => {
    t.strictSame(warningsOf({turns: {store: "./turns", ttl: 86_400, cold: [{after: "7d", codec: "transform"}]}}), [
        '/turns/cold/0/after: "604800s" never comes, because "ttl" drops turns after 86400 s.'
    ]);
    t.strictSame(placesOf({turns: {store: "./turns", cold: [{after: "7d", codec: "tokens"}, {after: "90d", codec: "transform"}]}}), ["/turns/cold/1/codec"]);
    t.strictSame(warningsOf({turns: {store: "./turns", cold: [{after: "7d", codec: "transform"}, {after: "30d", codec: "transform", ratio: 24}, {after: "90d", codec: "tokens"}]}}), [
        '/turns/cold/1/codec: "transform" freezes only conversations that the step before has missed, because transform (ratio 24) can\'t follow transform (ratio 12).'
    ]);
    t.end();
});
