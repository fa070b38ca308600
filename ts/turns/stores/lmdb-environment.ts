import {accessSync, chmodSync, closeSync, constants, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {open, type RootDatabase} from "lmdb";
import {emptyFile, findDamage} from "./lmdb-format.js";

const maxReaders = 126;

/**
 * Opens an LMDB environment: the folder's own, or the one beside it that only serves as a write lock. Whatever can fail is tried before LMDB opens,
 * since lmdb 3.5.6 uses freed memory after a failed opening.
 */
export function openEnvironment(folder: string, name: "data" | "gate"): RootDatabase<Uint8Array, Uint8Array> {
    const file = join(folder, `${name}.mdb`), lock = join(folder, name === "data" ? "lock.mdb" : "gate.mdb-lock");
    const damage = findDamage(file);
    if (damage !== undefined) throw new Error(`its file ${name}.mdb is damaged or another program's: ${damage}`);
    if (isEmpty(file)) make(file, emptyFile());
    // LMDB maps a new lock file before the disk has room for it. On a full disk that would kill the process.
    if (isEmpty(lock)) make(lock, Buffer.alloc(64 * (maxReaders + 8)));
    for (const used of [file, lock]) {
        accessSync(used, constants.R_OK | constants.W_OK);
        if ((statSync(used).mode & 0o077) !== 0) chmodSync(used, 0o600);
    }
    return open<Uint8Array, Uint8Array>({
        path: name === "data" ? folder : file, noSubdir: name !== "data", encoding: "binary", keyEncoding: "binary",
        maxReaders, overlappingSync: false
    });
}

function isEmpty(file: string): boolean {
    return (statSync(file, {throwIfNoEntry: false})?.size ?? 0) === 0;
}

/** Makes a file with all its bytes at once, unless another process was quicker. */
function make(file: string, bytes: Buffer): void {
    const whole = `${file}-${process.pid}`;
    try {
        writeFileSync(whole, bytes, {mode: 0o600, flush: true});
        if (statSync(file, {throwIfNoEntry: false}) === undefined) linkIfNew(whole, file);
        else renameSync(whole, file);
        sync(join(file, ".."));
    } finally {
        rmSync(whole, {force: true});
    }
}

function linkIfNew(from: string, to: string): void {
    try {
        linkSync(from, to);
    } catch (error) {
        // Some file systems have no links.
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") renameSync(from, to);
    }
}

/** Writes a folder to disk, and with it the names of its new files. */
function sync(folder: string): void {
    const opened = openSync(folder, "r");
    fsyncSync(opened);
    closeSync(opened);
}
