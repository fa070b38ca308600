import {createHash} from "node:crypto";
import {open, type FileHandle} from "node:fs/promises";
import {DeltaStoreError} from "./errors.js";

/**
 * A sequence state file is llama.cpp's: magic, version, token count, tokens, then the memory's own bytes, which have a checksum of
 * their own. Ours end in a seal, which llama.cpp doesn't read: a magic and a hash of what comes before the memory's bytes.
 */
const llamaMagic = Buffer.from("qsgg", "latin1");  // "ggsq", little-endian
const memoryMagic = 0x53545344;  // "DSTS", see cpp/state.cpp
const version = 6;  // of the memory's bytes
const sealMagic = 0x45545344;  // "DSTE"
const headerBytes = 12;
const hashBytes = 12;
const sealBytes = 4 + hashBytes;

/** Seals a file that llama.cpp has written. @returns the bytes added */
export async function sealStateFile(path: string): Promise<number> {
    return await withFile(path, "r+", async (file, size) => {
        const header = await readExactly(file, 0, headerBytes);
        const seal = Buffer.alloc(sealBytes);
        seal.writeUInt32LE(sealMagic);
        hashOf(await readExactly(file, 0, tokensEnd(header))).copy(seal, 4);
        await file.write(seal, 0, sealBytes, size);
        return sealBytes;
    });
}

/**
 * @returns whether it is of an earlier version
 * @throws DeltaStoreError STATE_NOT_FOUND, STATE_FOREIGN, STATE_DAMAGED, STATE_TOO_LARGE
 */
export async function checkStateFile(path: string, maxTokens: number): Promise<"earlier" | "current"> {
    return await withFile(path, "r", async (file, size) => {
        const damaged = (what: string) => new DeltaStoreError("STATE_DAMAGED", `The state file ${path} is ${what}`);
        const header = await readExactly(file, 0, Math.min(size, headerBytes)), magic = header.subarray(0, llamaMagic.length);
        if (!magic.equals(llamaMagic.subarray(0, size)))
            throw new DeltaStoreError("STATE_FOREIGN", `The file ${path} is not a sequence state of llama.cpp`);
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
async function withFile<T>(path: string, flags: string, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
    try {
        const file = await open(path, flags);
        try {
            return await use(file, (await file.stat()).size);
        } finally {
            await file.close();
        }
    } catch (error) {
        if (error instanceof DeltaStoreError) throw error;
        throw new DeltaStoreError("STATE_NOT_FOUND",
            `The state file ${path} can't be ${flags === "r" ? "read" : "written"}: ${(error as Error).message}`, {cause: error});
    }
}
