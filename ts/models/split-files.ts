import {DeltaStoreError} from "../errors.js";

/** The first part of a model that is split into several files. */
const splitName = /-00001-of-(\d{5})\.gguf$/;
const mostParts = 1000;

/**
 * The paths of a model's files, by that of the first.
 * @throws DeltaStoreError MODEL_NOT_FOUND if the name says that there are too many
 */
export function partPaths(first: string): string[] {
    const count = Number(splitName.exec(first)?.[1] ?? 1);
    if (count < 1 || count > mostParts) throw new DeltaStoreError("MODEL_NOT_FOUND", `${first} has ${count} parts by its name; 1 to ${mostParts} are read`);
    return Array.from({length: count}, (_, index) => first.replace(splitName, (_, last: string) => `-${String(index + 1).padStart(5, "0")}-of-${last}.gguf`));
}
