import {inspect} from "node:util";
import {DeltaStoreError} from "../errors.js";
import {invalid} from "../options.js";
import {isParked} from "./parked-name.js";

/** @throws DeltaStoreError OPTION_INVALID */
export function requireName(name: unknown): void {
    if (typeof name !== "string" || name === "")
        throw invalid(`A conversation's name is ${inspect(name, {depth: 0})}; allowed is a string that is not empty`);
    if (/\p{Surrogate}/u.test(name)) throw invalid("A conversation's name has half a character (a lone surrogate), so it can't be told from others");
    if (isParked(name)) throw invalid(`A conversation's name is ${JSON.stringify(name)}; parked sequences have names that begin so`);
}

/** A copy of the data as it is now, by way of JSON. @throws DeltaStoreError OPTION_INVALID */
export function asJson(data: unknown): unknown {
    try {
        const text = JSON.stringify(data);
        if (text === undefined) throw new TypeError("JSON can't say it");
        return JSON.parse(text) as unknown;
    } catch (error) {
        throw new DeltaStoreError("OPTION_INVALID", `data can't be kept: ${(error as Error).message}`, {cause: error});
    }
}
