import {DeltaStoreError} from "../../errors.js";
import type {Step} from "./snapshot-store.js";

/** Most bytes of UTF-8: what an LMDB key holds, less the letter of its name space. It is the same for every store, so that all take the same names. */
export const longestName = 1977;

/** @throws DeltaStoreError OPTION_INVALID for what can't be a key or an object's name: too long, or with half a surrogate pair */
export function checkName(name: string): void {
    const bytes = Buffer.byteLength(name);
    if (bytes <= longestName && !/\p{Surrogate}/u.test(name)) return;
    const shown = JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name);
    throw new DeltaStoreError("OPTION_INVALID", bytes > longestName ?
        `The name ${shown} has ${bytes} bytes in UTF-8; allowed are up to ${longestName}.` : `The name ${shown} is not well-formed Unicode.`);
}

/** @throws DeltaStoreError OPTION_INVALID if one of the step's names can't be stored */
export function checkNames(step: Step): void {
    for (const pairs of [step.expect, step.put, step.objects, step.replace]) for (const [name] of pairs ?? []) checkName(name);
    for (const names of [step.delete, step.retain, step.release, step.sweep]) for (const name of names ?? []) checkName(name);
}
