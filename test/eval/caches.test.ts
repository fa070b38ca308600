import t from "tap";
import {dist} from "../support/paths.js";
import type {PolicyFile} from "../../dist/policy/policy-file.js";

const {reference, resolveCaches, windowless, withWindowlessTiers} =
    await import(dist("eval/caches.js")) as typeof import("../../dist/eval/caches.js");
const {loadPolicy} = await import(dist("policy/load.js")) as typeof import("../../dist/policy/load.js");

const file: PolicyFile = {default: "long", tiers: {long: {extends: "conservative", window: 128, sinks: 8}, plain: {format: "f16"}}};
const policy = loadPolicy(file);

t.test("caches are found by name, each once, without the reference", async (t) => {
    t.strictSame(resolveCaches(policy, ["long", "stock", "stock-q8_0", "long"]).map(({name}) => name), ["long", "stock-q8_0"],
        "each once, and without the reference");
    const [long] = resolveCaches(policy, ["long"]);
    t.strictSame(long!.options, {kvCache: "long"});
    t.not(long!.definition, resolveCaches(loadPolicy({tiers: {long: {format: "k4v2"}}}), ["long"])[0]!.definition, "another tier of the same name");
    t.match(resolveCaches(policy, ["stock-f16_plain"]), [{options: {kvCache: "stock", flashAttention: false}, bitsPerValue: 16}]);
    t.throws(() => resolveCaches(policy, ["logn"]), {code: "TIER_UNKNOWN", message: /did you mean "long"\?/});
    t.throws(() => resolveCaches(policy, ["stock_q8"]), {code: "TIER_UNKNOWN", message: /did you mean "stock-q8_0"\?/});
});

t.test("each packed tier has a twin without a window", async (t) => {
    const packedAtOnce = {window: 0, windowFormat: "k8v8", sinks: 4, important: 0, eviction: null};
    const extended = loadPolicy(withWindowlessTiers(file, policy));
    t.equal(extended.defaultTier, "long");
    const of = (name: string) => windowless(resolveCaches(extended, [name])[0]!, extended);
    t.match(of("long"), {name: "long", options: {kvCache: "long-window-0"}}, "reported under its own name");
    t.strictSame(extended.tiers.get("long-window-0"), {...packedAtOnce, name: "long-window-0", format: "k4v2", sinks: 8});
    t.strictSame(extended.tiers.get("high-window-0"), {...packedAtOnce, name: "high-window-0", format: "k4v4", sinks: 4});
    for (const name of ["exact", "plain", "stock-q4_0"]) t.equal(of(name).options.kvCache, resolveCaches(extended, [name])[0]!.options.kvCache);
    t.equal(windowless(reference, extended), reference);
    const finer: PolicyFile = {tiers: {finer: {extends: "compact", important: {share: 0.2}}}};
    t.match(loadPolicy(withWindowlessTiers(finer, loadPolicy(finer))).tiers.get("finer-window-0"), {format: "k3v2", window: 0, important: 0});
});
