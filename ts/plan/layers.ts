import {isRecord} from "../options.js";
import type {PlanFile} from "./plan-file.js";

type Fields = Record<string, unknown>;

/** A field, and those that say more of what it names: they go with it. */
const dependents: Readonly<Record<string, readonly string[]>> = {
    "model.name": ["name", "file", "weightBits", "activeParameters"],
    "model.file": ["name", "file", "weightBits", "activeParameters"],
    "machine.name": [
        "name", "memory", "bandwidth", "flops", "watts", "idleWatts", "serverWatts", "embodiedKg", "serverEmbodiedKg", "usdPerHour", "provider", "measured", "bench"
    ],
    "machine.provider": ["provider", "usdPerHour"],
    "region.name": ["name", "gridKgPerKwh", "marketKgPerKwh", "waterOffSite"],
    "region.facility": ["facility", "pue", "waterOnSite"]
};

/** What of a scenario still counts beneath another one. */
export function displaced(lower: PlanFile, upper: PlanFile): PlanFile {
    const left = Object.fromEntries(Object.entries(lower).map(([part, fields]) => [part, isRecord(fields) ? {...fields} : fields as unknown]));
    for (const [name, gone] of Object.entries(dependents)) {
        const [part, field] = name.split(".") as [string, string], above = (upper as Fields)[part], below = left[part];
        if (isRecord(above) && above[field] !== undefined && isRecord(below)) for (const one of gone) delete below[one];
    }
    return left as PlanFile;
}

/** Both, where the upper one counts more. What is no object stays, for the check to refuse. */
export function overlaid(lower: PlanFile, upper: PlanFile): PlanFile {
    const all: Fields = {...displaced(lower, upper)};
    for (const [part, fields] of Object.entries(upper as Fields)) all[part] = isRecord(fields) && isRecord(all[part]) ? {...all[part], ...fields} : fields;
    return all as PlanFile;
}
