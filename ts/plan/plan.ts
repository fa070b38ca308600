import {inspect} from "node:util";
import {invalid, requireOptions} from "../options.js";
import type {PlanFile} from "./plan-file.js";
import type {PlanReport} from "./report.js";

export interface PlanOptions {
    /** Whether the scenario's contexts are filled on this machine, so that bytes of tiers are measured. The model has to be a file. */
    readonly measure?: boolean;
}

/**
 * What a fleet takes that serves a scenario: memory, GPUs, money, energy, carbon and water, with stock's caches and with tiers. It changes nothing, and the
 * same scenario gives the same report. Apps that don't plan don't load the planner.
 * @param input a scenario, the path of a JSON file with one, or undefined for the defaults; `config-schema/plan.schema.json` describes it
 * @throws DeltaStoreError PLAN_INVALID, PLAN_NOT_FOUND, MODEL_* of a model file, POLICY_* of a policy file, or the engine's
 */
export async function plan(input?: string | PlanFile, options: PlanOptions = {}): Promise<PlanReport> {
    requireOptions("plan", options, ["measure"]);
    const {measure = false} = options;
    if (typeof measure !== "boolean") throw invalid(`measure is ${inspect(measure)}; allowed are true and false`);
    return await (await import("./planner.js")).makePlan(input, measure);
}
