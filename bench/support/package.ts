import path from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";

/** The package's folder; this file runs from build/js/bench/support. */
export const root = fileURLToPath(new URL("../../../../", import.meta.url));

type Modules = {
    "context/pack.js": typeof import("../../ts/context/pack.js");
    "eval/caches.js": typeof import("../../ts/eval/caches.js");
    "eval/divergence.js": typeof import("../../ts/eval/divergence.js");
    "eval/generation.js": typeof import("../../ts/eval/generation.js");
    "eval/journal.js": typeof import("../../ts/eval/journal.js");
    "eval/logits.js": typeof import("../../ts/eval/logits.js");
    "eval/needles.js": typeof import("../../ts/eval/needles.js");
    "eval/retrieval.js": typeof import("../../ts/eval/retrieval.js");
    "eval/run.js": typeof import("../../ts/eval/run.js");
    "eval/setup.js": typeof import("../../ts/eval/setup.js");
    "eval/statistics.js": typeof import("../../ts/eval/statistics.js");
    "eval/suite.js": typeof import("../../ts/eval/suite.js");
    "eval/text.js": typeof import("../../ts/eval/text.js");
    "eval/weights.js": typeof import("../../ts/eval/weights.js");
    "index.js": typeof import("../../ts/index.js");
    "engine/load.js": typeof import("../../ts/engine/load.js");
    "models/fetch.js": typeof import("../../ts/models/fetch.js");
    "models/weights.js": typeof import("../../ts/models/weights.js");
    "plan/facts.js": typeof import("../../ts/plan/facts.js");
    "plan/picture.js": typeof import("../../ts/plan/picture.js");
    "plan/plan.js": typeof import("../../ts/plan/plan.js");
    "plan/presets.js": typeof import("../../ts/plan/presets.js");
    "runtime/context-lock.js": typeof import("../../ts/runtime/context-lock.js");
    "runtime/contexts.js": typeof import("../../ts/runtime/contexts.js");
    "policy/load.js": typeof import("../../ts/policy/load.js");
    "policy/tiers.js": typeof import("../../ts/policy/tiers.js");
    "store/model-report.js": typeof import("../../ts/store/model-report.js");
    "turns/stores/memory.js": typeof import("../../ts/turns/stores/memory.js");
};

/** A module of the built package. */
export async function dist<Name extends keyof Modules>(name: Name): Promise<Modules[Name]> {
    return await import(pathToFileURL(path.join(root, "dist", name)).href) as Modules[Name];
}
