/** A fleet as `deltastore plan` sees it, for README and docs/plan.md: `npm run bench:plan`. It computes, and measures nothing. */
import {writeFileSync} from "node:fs";
import path from "node:path";
import type {PlanFile} from "../ts/plan/plan-file.js";
import type {PlanReport} from "../ts/plan/report.js";
import type {PlanResults, PlanSummary} from "./plan-tables.js";
import {dist, root} from "./support/package.js";

const {plan} = await dist("plan/plan.js"), {planPicture} = await dist("plan/picture.js"), {presetNames} = await dist("plan/presets.js");
const fleet: PlanFile = {
    users: {count: 50_000}, context: {tokens: 8192, sharedTokens: 1024}, caches: ["stock-f16", "stock-q8_0", "stock-q4_0", "high", "conservative", "recommended"]
};
/** 64 sequences at once, all the time: what ML.ENERGY measured of an 8B model on an H100. */
const busy: PlanFile = {users: {count: 64, active: 1}, context: {tokens: 600}, turns: {outputRate: 94, leastSpeed: 94, perDay: 0}, caches: ["stock-f16"]};

const summaryOf = ({caches}: PlanReport): PlanSummary => caches.map(({title, bytesShared, fleet: of, impact}) => ({
    title, bytes: Math.round(bytesShared), gpus: "gpus" in of ? of.gpus : null, limit: "limit" in of ? of.limit : null,
    usd: impact?.usd ?? null, kwh: impact?.kwh ?? null, carbonKg: impact?.carbonKg ?? null
}));

const planned = await plan(fleet);
const results: PlanResults = {fleet: summaryOf(planned), presets: {}, joulesPerToken: (await plan(busy)).caches[0]!.joulesPerToken!};
for (const preset of presetNames()) results.presets[preset] = summaryOf(await plan({preset, caches: ["stock-f16", "high", "recommended"]}));
const short = (_: string, value: unknown) => typeof value === "number" ? Number(value.toPrecision(6)) : value;
writeFileSync(path.join(root, "bench/results/plan.json"), JSON.stringify(results, short, 1) + "\n");
writeFileSync(path.join(root, "bench/results/plan.svg"), planPicture(planned));
