import {createHash} from "node:crypto";
import {createReadStream} from "node:fs";
import {stat} from "node:fs/promises";
import {pipeline} from "node:stream/promises";
import type {ModelFile} from "./model-source.js";

/**
 * What is wrong with a file that should be `model`. Null if size and SHA-256 are right.
 * @throws the file system's error if the file can't be read, or the signal's reason
 */
export async function findMismatch(path: string, model: ModelFile, signal?: AbortSignal): Promise<string | null> {
    const {size} = await stat(path);
    if (size !== model.bytes) return `it has ${size} bytes instead of ${model.bytes}`;
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash, signal === undefined ? {} : {signal});
    const sha256 = hash.digest("hex");
    return sha256 === model.sha256 ? null : `its SHA-256 is ${sha256} instead of ${model.sha256}`;
}
