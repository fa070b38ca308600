import {createHash, randomUUID} from "node:crypto";
import {access, constants, open, realpath, rename, rm, stat, type FileHandle} from "node:fs/promises";
import {dirname, join} from "node:path";
import {getSystemErrorMap} from "node:util";
import {DeltaStoreError} from "../errors.js";

/**
 * A sequence state file has llama.cpp's form: magic, version, token count, tokens, then the memory's bytes, which have a checksum of their
 * own. Our files end in a seal, which llama.cpp doesn't read: a magic, and a hash of all that comes before the memory's bytes.
 */
const llamaMagic = Buffer.from("qsgg", "latin1");  // "ggsq", little-endian
const memoryMagic = 0x53545344;  // "DSTS", see cpp/snapshot/state.cpp
const version = 6;  // of the memory's bytes; llama.cpp's own is another
const sealMagic = 0x45545344;  // "DSTE"
const headerBytes = 12;
const hashBytes = 12;
const sealBytes = 4 + hashBytes;

const probeBytes = 65536;

/**
 * Has llama.cpp write beside the file of this name, seals that, and moves it to the name once it is whole. A failure leaves what had the name. A
 * process that is killed leaves a `.deltastore-*.tmp`, too.
 * @param write makes llama.cpp write a file of the given path, and gives its size
 * @returns the file's size
 * @throws DeltaStoreError STATE_WRITE_FAILED, or what `write` throws with another code
 */
export async function writeStateFile(path: string, write: (path: string) => Promise<number>): Promise<number> {
    let unfinished: string | null = null;
    try {
        const {target, mode} = await placeOf(path), beside = join(dirname(target), `.deltastore-${randomUUID()}.tmp`);
        const file = await open(beside, "wx+", mode ?? 0o666);
        unfinished = beside;
        try {
            if (mode !== null) await file.chmod(mode);
            await seal(file, await written(file, write(beside)));
        } finally {
            await file.close();
        }
        const {size} = await stat(beside);
        await rename(beside, target);
        return size;
    } catch (error) {
        if (unfinished !== null) await rm(unfinished, {force: true}).catch(() => undefined);
        throw error instanceof DeltaStoreError ? error
            : new DeltaStoreError("STATE_WRITE_FAILED", `The state file ${path} can't be written: ${whatSystemSaid(error)}`, {cause: error});
    }
}

/** The path of the file behind links, and its mode if it is there. */
async function placeOf(path: string): Promise<{target: string; mode: number | null}> {
    const target = await realpath(path).catch(() => path), before = await stat(target).catch(() => null);
    if (before === null) return {target, mode: null};
    if (!before.isFile()) throw new Error("it is no regular file");
    await access(target, constants.W_OK);
    return {target, mode: before.mode & 0o777};
}

/**
 * The size of the file that llama.cpp wrote. llama.cpp tells no cause of a failure, and does not notice when closing the file fails. So this writes
 * on, to learn the cause from the system.
 */
async function written(file: FileHandle, writing: Promise<number>): Promise<number> {
    const writeOn = async (bytes: number) => await writeAll(file, Buffer.alloc(bytes), (await file.stat()).size);
    let bytes: number;
    try {
        bytes = await writing;
    } catch (error) {
        if (error instanceof DeltaStoreError && error.code === "STATE_WRITE_FAILED") await writeOn(probeBytes);
        throw error;
    }
    const {size} = await file.stat();
    if (size === bytes) return bytes;
    await writeOn(Math.max(bytes - size, probeBytes));
    throw new Error(`${size} of ${bytes} bytes were written`);
}

async function seal(file: FileHandle, size: number): Promise<void> {
    const bytes = Buffer.alloc(sealBytes), header = await readExactly(file, 0, headerBytes);
    bytes.writeUInt32LE(sealMagic);
    hashOf(await readExactly(file, 0, tokensEnd(header))).copy(bytes, 4);
    await writeAll(file, bytes, size);
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length;)
        done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** The system's message without its path, which may be the one beside. */
function whatSystemSaid(error: unknown): string {
    const {errno, message} = error as NodeJS.ErrnoException, [code, text] = getSystemErrorMap().get(errno ?? 0) ?? [];
    return code === undefined ? message : `${text} (${code})`;
}

/**
 * Checks a state file's form, seal and length.
 * @param llamaVersion of the files that this llama.cpp reads
 * @returns whether it is of an earlier version of this package
 * @throws DeltaStoreError STATE_NOT_FOUND, STATE_FOREIGN, STATE_DAMAGED, STATE_FORMAT_MISMATCH, STATE_TOO_LARGE
 */
export async function checkStateFile(path: string, maxTokens: number, llamaVersion: number): Promise<"earlier" | "current"> {
    return await withFile(path, async (file, size) => {
        const damaged = (what: string) => new DeltaStoreError("STATE_DAMAGED", `The state file ${path} is ${what}`);
        const header = await readExactly(file, 0, Math.min(size, headerBytes)), magic = header.subarray(0, llamaMagic.length);
        if (!magic.equals(llamaMagic.subarray(0, size)))
            throw new DeltaStoreError("STATE_FOREIGN", `The file ${path} is not the state file of a sequence`);
        if (size < headerBytes) throw damaged(`cut short: ${size} bytes`);
        const end = tokensEnd(header);
        const seal = size < headerBytes + sealBytes ? null : await readExactly(file, size - sealBytes, sealBytes);
        if (seal === null || seal.readUInt32LE(0) !== sealMagic) {
            if (size >= end + 4 && (await readExactly(file, end, 4)).readUInt32LE(0) !== memoryMagic)
                throw new DeltaStoreError("STATE_FOREIGN", `The state file ${path} was not written by llama-deltastore`);
            throw damaged("cut short or changed at its end");
        }
        if (end > size - sealBytes) throw damaged("changed: it has no room for the tokens that its header counts");
        if (!hashOf(await readExactly(file, 0, end)).equals(seal.subarray(4))) throw damaged("changed: its tokens are not those that were saved");
        if (header.readUInt32LE(4) !== llamaVersion)
            throw new DeltaStoreError("STATE_FORMAT_MISMATCH", `The state file ${path} was saved with a llama.cpp whose state files have version ` +
                `${header.readUInt32LE(4)}; this one reads version ${llamaVersion}`);
        const tokens = header.readUInt32LE(8);
        if (tokens > maxTokens)
            throw new DeltaStoreError("STATE_TOO_LARGE", `The state file ${path} holds ${tokens} tokens; this sequence has room for ${maxTokens}`);
        const memory = await readExactly(file, end, Math.min(8, size - sealBytes - end));
        return memory.length === 8 && memory.readUInt32LE(4) < version ? "earlier" : "current";
    });
}

const tokensEnd = (header: Buffer): number => headerBytes + 4 * header.readUInt32LE(8);
const hashOf = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest().subarray(0, hashBytes);

async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    const {bytesRead} = await file.read(bytes, 0, length, position);
    if (bytesRead < length) throw new Error(`it ends after ${position + bytesRead} bytes`);
    return bytes;
}

/** Errors of the file system become STATE_NOT_FOUND. */
async function withFile<T>(path: string, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
    try {
        const file = await open(path, "r");
        try {
            return await use(file, (await file.stat()).size);
        } finally {
            await file.close();
        }
    } catch (error) {
        if (error instanceof DeltaStoreError) throw error;
        throw new DeltaStoreError("STATE_NOT_FOUND", `The state file ${path} can't be read: ${(error as Error).message}`, {cause: error});
    }
}
