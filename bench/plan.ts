/** A fleet as `deltastore plan` sees it, for README and docs/plan.md: `npm run bench:plan`. It computes, and measures nothing. */
import {writeFileSync} from "node:fs";
import path from "node:path";
import type {PlanFile} from "../ts/plan/plan-file.js";
import type {PlanSummary} from "./plan-tables.js";
import {dist, root} from "./support/package.js";

const {plan} = await dist("plan/plan.js"), {planPicture} = await dist("plan/picture.js"), {presetNames} = await dist("plan/presets.js");
const caches: NonNullable<PlanFile["caches"]> = ["stock-f16", "stock-q8_0", "stock-q4_0", "high", "conservative", "recommended"];
const scenario: PlanFile = {users: {count: 50_000}, context: {tokens: 8192, sharedTokens: 1024}, caches};

const summarize = async (preset: string | null, file: PlanFile): Promise<PlanSummary> => {
    const {caches: plans, inputs} = await plan(file);
    const users = inputs.find(({name}) => name === "users.count")!.value as number;
    return {preset, users, caches: plans.map(({title, bytesShared, bytesAtRest, fleet, impact}) => ({
        title, bytes: Math.round(bytesShared), bytesAtRest: Math.round(bytesAtRest), gpus: "gpus" in fleet ? fleet.gpus : null, limit: "limit" in fleet ? fleet.limit : null,
        usd: impact?.usd ?? null, kwh: impact?.kwh ?? null, carbonKg: impact?.carbonKg ?? null
    }))};
};
const report = [await summarize(null, scenario)];
for (const preset of presetNames()) report.push(await summarize(preset, {preset, caches: ["stock-f16", "high", "recommended"]}));
writeFileSync(path.join(root, "bench/results/plan.json"), JSON.stringify(report, (_, value: unknown) => typeof value === "number" ? Number(value.toPrecision(6)) : value, 1) + "\n");
writeFileSync(path.join(root, "bench/results/plan.svg"), planPicture(await plan(scenario)));
