import {join} from "node:path";
import t from "tap";
import {plan, readScenario, type PlanFile} from "../support/plan.js";
import {codeOf} from "../support/engine.js";

function problemsOf(input: unknown): readonly string[] {
    try {
        readScenario(input as PlanFile);
        return [];
    } catch (error) {
        return (error as {problems: readonly string[]}).problems;
    }
}

t.test("a mistake in every field is told, all at once", async (t) => {
    const number = "x", problems = problemsOf({
        version: 2, preset: "papers-3k", model: {name: "llama-3-8", file: 5, weightBits: 0, activeParameters: -1},
        users: {count: 0, active: 1.5, parked: -1}, context: {tokens: 0, sharedTokens: 1.5, groups: 10_001},
        turns: {tokens: -1, perDay: -1, returnsPerDay: number, outputRate: -1, leastSpeed: 0, peak: 0.5},
        disk: {conversationsPerDay: -1, days: -1, usdPerGbMonth: {low: 1}}, caches: ["hihg"], policy: "nowhere.json",
        machine: {
            name: "h10", memory: "80GiBs", usable: 0, weights: "shared", gpusPerGroup: 0, bandwidth: 0, flops: -1, bandwidthReached: 2, flopsReached: 0, watts: -1, idleWatts: "70",
            usdPerHour: {low: 2, high: 1}, serverWatts: -1, embodiedKg: 1e10, serverEmbodiedKg: "5", provider: 5, lifetimeYears: 0, measured: {hgih: {decode: 0}}, bench: "nowhere.json"
        },
        region: {name: "usa", facility: "gogle", gridKgPerKwh: -1, marketKgPerKwh: null, pue: 0.9, waterOnSite: {high: 1}, waterOffSite: true}, userss: {}
    });
    const told = (pointer: string) => problems.filter((problem) => problem.startsWith(`${pointer}:`));
    for (const pointer of [
        "/version", "/preset", "/model/name", "/model/file", "/model/weightBits", "/model/activeParameters", "/users/count", "/users/active", "/users/parked",
        "/context/tokens", "/context/sharedTokens", "/context/groups", "/turns/tokens", "/turns/perDay", "/turns/returnsPerDay", "/turns/outputRate", "/turns/leastSpeed",
        "/turns/peak", "/disk/conversationsPerDay", "/disk/days", "/disk/usdPerGbMonth", "/caches/0", "/policy", "/machine/name", "/machine/memory", "/machine/usable",
        "/machine/weights", "/machine/gpusPerGroup", "/machine/bandwidth", "/machine/flops", "/machine/bandwidthReached", "/machine/flopsReached", "/machine/watts", "/machine/idleWatts",
        "/machine/usdPerHour", "/machine/serverWatts", "/machine/embodiedKg", "/machine/serverEmbodiedKg", "/machine/provider", "/machine/lifetimeYears", "/machine/measured/hgih", "/machine/measured/hgih/decode", "/machine/bench", "/region/name",
        "/region/facility", "/region/gridKgPerKwh", "/region/marketKgPerKwh", "/region/pue", "/region/waterOnSite", "/region/waterOffSite", "/userss"
    ]) t.equal(told(pointer).length, 1, pointer);
    const all = problems.join("\n");
    for (const sentence of [
        /\/model\/name: "llama-3-8" is not known; known are "llama-3-8b".*did you mean "llama-3-8b"/, /\/users\/active: 1.5 is not allowed; give a number from 0 to 1/,
        /\/machine\/memory: "80GiBs" is not allowed; give a whole number of bytes/, /\/machine\/usdPerHour: .* has a "low" above its "high"/,
        /\/region\/pue: 0.9 is not allowed; give a number from 1 to 100, or a range such as/, /\/caches\/0: "hihg" is not known.*did you mean "high"/,
        /\/userss: \{\} is in an unknown field; allowed fields are .*did you mean "users"/, /\/policy: "nowhere.json" can't be used: The policy file nowhere.json can't be read/
    ]) t.match(all, sentence);
});

t.test("a file's text is checked, too", async (t) => {
    const folder = t.testdir({"twice.json": '{"users": {"count": 5, "count": 6}, "context": {"tokens": 0}}', "cut.json": '{"users": ', "list.json": "[]"});
    t.match(problemsOf(join(folder, "twice.json")), [/^Line 1, column 24: the field "count" is given twice/, /^\/context\/tokens: 0/]);
    t.equal(problemsOf(join(folder, "cut.json")).length > 0, true);
    t.match(problemsOf(join(folder, "list.json")), [/^\(root\): \[\] is not allowed; give an object with the fields/]);
    t.equal(await codeOf(plan(join(folder, "none.json"))), "PLAN_NOT_FOUND");
    t.equal(await codeOf(plan({}, {measured: true} as never)), "OPTION_INVALID");
    t.equal(await codeOf(plan(null as never)), "PLAN_INVALID");
});

t.test("more shared tokens than tokens, and a provider without prices, are mistakes", async (t) => {
    t.match(problemsOf({context: {sharedTokens: 5000}}), [/^\/context\/sharedTokens: 5000 is more than the conversation's 4096 tokens/]);
    t.match(problemsOf({machine: {provider: "nobody"}}), [/^\/machine\/provider: "nobody" has no price of h100: it is not known; known are .*"CoreWeave"/]);
    t.match(problemsOf({preset: "green-10k", machine: {provider: "CoreWeave"}}), [/"CoreWeave" has no price of a100-80/], "the preset's machine");
    t.match(problemsOf({preset: "one-pager-2k", context: {tokens: 1024}}), [/2048 is more than the conversation's 1024 tokens/]);
    t.match(problemsOf({turns: {outputRate: 11}}), [/^\/turns\/outputRate: 11 is more than the 10 tokens a second/]);
    t.match(problemsOf({machine: {memory: "0.5B"}}), [/less than a byte/]);
    t.strictSame(problemsOf({machine: {provider: "CoreWeave"}}), []);
});

t.test("the report says where each figure is from", async (t) => {
    const {inputs} = await plan({preset: "papers-2k", users: {count: 3000}, machine: {usdPerHour: {low: 1, high: 2}}, caches: ["high"]});
    const of = (name: string) => inputs.find((input) => input.name === name);
    t.match(of("users.count"), {value: 3000, unit: "users", source: "given"});
    t.match(of("users.active"), {value: 0.2, source: "preset papers-2k"});
    t.match(of("machine.usdPerHour"), {value: {low: 1, high: 2}, source: "given"});
    t.match(of("machine.bandwidth"), {value: 3.35e12, unit: "bytes/s", source: /\(\d{4}/});
    t.match(of("turns.peak"), {value: 3, source: "assumed"});
    t.ok(inputs.every(({source}) => source !== ""));
});

t.test("a named machine, region or provider brings its own figures, whatever the preset had", async (t) => {
    const caches: ["stock-f16"] = ["stock-f16"];
    const us = await plan({preset: "green-10k", caches}), sweden = await plan({preset: "green-10k", caches, region: {name: "sweden"}});
    t.ok(sweden.caches[0]!.impact!.carbonKg.high < 0.2 * us.caches[0]!.impact!.carbonKg.high);
    const h100 = await plan({preset: "one-pager-2k", caches, machine: {name: "h100"}}), a100 = await plan({preset: "one-pager-2k", caches});
    t.ok(h100.machine.includes("H100") && a100.machine.includes("A100"));
    t.ok(h100.caches[0]!.impact!.usd.high > h100.caches[0]!.impact!.usd.low);
    t.equal(a100.caches[0]!.impact!.usd.high, a100.caches[0]!.impact!.usd.low, "the preset's 2 USD");
});

t.test("a given field takes the place of a preset's, and a shape that of a preset's file", async (t) => {
    const {model, caches, claims} = await plan({preset: "scale-100", model: {name: "smollm2-135m"}, caches: ["stock-f16"]});
    t.equal(model.title, "SmolLM2 135M");
    t.equal(caches.length, 1);
    t.ok(claims.length > 3);
});
