import {dist} from "./paths.js";

export type {PlanFile} from "../../dist/plan/plan-file.js";
export type {CachePlan, PlanReport} from "../../dist/plan/report.js";

export const {plan} = await import(dist("plan/plan.js")) as typeof import("../../dist/plan/plan.js");
export const {readScenario} = await import(dist("plan/load.js")) as typeof import("../../dist/plan/load.js");
export const {isFleet} = await import(dist("plan/report.js")) as typeof import("../../dist/plan/report.js");
export const {builtInTiers} = await import(dist("policy/tiers.js")) as typeof import("../../dist/policy/tiers.js");
export const facts = await import(dist("plan/facts.js")) as typeof import("../../dist/plan/facts.js");
export const presets = await import(dist("plan/presets.js")) as typeof import("../../dist/plan/presets.js");
