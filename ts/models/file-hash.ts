import {realpath, stat} from "node:fs/promises";
import {DeltaStoreError, toDeltaStoreError} from "../errors.js";
import type {NativeBinding} from "../engine/native.js";

/** The clock of files' times ticks every few milliseconds. So a file that was written just now may change and keep its times. */
const settledAfterMs = 1000;

/** A file as it was at some time. */
export interface FileStamp {
    readonly path: string;
    readonly bytes: number;
    /** Another file in its place has another mark, and so have other contents. */
    readonly mark: string;
    /** Whether every change that is made from now on changes the mark. */
    readonly settled: boolean;
}

/** @throws DeltaStoreError MODEL_NOT_FOUND */
export async function stampOf(path: string): Promise<FileStamp> {
    try {
        const {dev, ino, size, mtimeNs, ctimeNs} = await stat(path, {bigint: true});
        return {path, bytes: Number(size), mark: [dev, ino, size, mtimeNs, ctimeNs].join(), settled: Date.now() - Number(ctimeNs / 1_000_000n) > settledAfterMs};
    } catch (error) {
        throw gone(path, error);
    }
}

/** The last hash of each file, by the file's real path. */
const hashes = new Map<string, {mark: string; hash: Promise<Uint8Array>}>();

/**
 * The hash of a file's contents, which must be as they were when it was stamped. A file is hashed once a process.
 * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_CHANGED
 */
export async function fileHash(native: NativeBinding, {path, mark}: FileStamp): Promise<Uint8Array> {
    const place = await realpath(path).catch((error: unknown) => Promise.reject(gone(path, error))), now = await stampOf(path);
    if (now.mark !== mark) throw changed(path);
    const known = hashes.get(place);
    if (known?.mark === mark) return await known.hash;
    const entry = {mark, hash: hashNow(native, now)};
    hashes.set(place, entry);
    let stays = false;
    try {
        const hash = await entry.hash;
        stays = now.settled;
        return hash;
    } finally {
        if (!stays && hashes.get(place) === entry) hashes.delete(place);
    }
}

async function hashNow(native: NativeBinding, {path, mark}: FileStamp): Promise<Uint8Array> {
    const hash = await native.hashFile(path).catch((error: unknown) => Promise.reject(toDeltaStoreError(error)));
    if ((await stampOf(path)).mark !== mark) throw changed(path);
    return hash;
}

function gone(path: string, error: unknown): DeltaStoreError {
    return new DeltaStoreError("MODEL_NOT_FOUND", `The file ${path} was loaded and can't be read again: ${(error as Error).message}. ` +
        "So rows made with it can't be told from another file's", {cause: error});
}

function changed(path: string): DeltaStoreError {
    return new DeltaStoreError("MODEL_CHANGED", `The file ${path} was replaced or changed since it was loaded. So rows made with what was loaded ` +
        "can't be told from another file's. Load the model again");
}
