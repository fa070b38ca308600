import {mkdtemp, open, rm, type FileHandle} from "node:fs/promises";
import {tmpdir} from "node:os";
import {basename, join} from "node:path";
import {DeltaStoreError} from "../errors.js";
import {tensorBytes} from "./ggml-types.js";
import {HeaderCut, readTensors} from "./gguf-header.js";
import {partPaths} from "./split-files.js";

/** Milliseconds to wait for a server's next bytes. */
const stallLimit = 30_000;
const mostHeaderBytes = 1 << 28;
const firstLook = 1 << 20;

const mostParts = 1000;
/** Characters of a file's name that are kept, its end: file systems have a limit. */
const mostNameLength = 200;

/** Two letters at least: one is a drive. */
export const isUrl = (path: string): boolean => /^[a-z][a-z\d+.-]+:\/\//i.test(path);

/**
 * Gives `use` a file with the header of a GGUF file on a web server. Its data are a hole: the file is as long as the whole one and takes next to no room.
 * The parts of a split model lie beside it. Only the header is fetched: the download ends where the header does.
 * @throws DeltaStoreError MODEL_NOT_FOUND for no URL, MODEL_DOWNLOAD_FAILED, MODEL_DAMAGED
 */
export async function withRemoteHeader<Result>(url: string, use: (path: string) => Promise<Result>): Promise<Result> {
    const parts = partsOf(url);
    const folder = await mkdtemp(join(tmpdir(), "deltastore-header-"));
    try {
        const paths: string[] = [];
        for (const part of parts) {
            const path = join(folder, basename(part.pathname).slice(-mostNameLength) || "model.gguf");
            await fetchHeader(part, path);
            paths.push(path);
        }
        return await use(paths[0]!);
    } finally {
        await rm(folder, {recursive: true, force: true});
    }
}

function partsOf(given: string): URL[] {
    const url = URL.canParse(given) ? new URL(given) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol)) throw new DeltaStoreError("MODEL_NOT_FOUND", `${given} is no URL of http or https`);
    const paths = partPaths(url.pathname);
    if (paths.length > mostParts) throw new DeltaStoreError("MODEL_NOT_FOUND", `${given} has ${paths.length} parts by its name; at most ${mostParts} are read`);
    return paths.map((path) => {
        const part = new URL(url);
        part.pathname = path;
        return part;
    });
}

async function fetchHeader(url: URL, path: string): Promise<void> {
    const stall = new AbortController();
    const timer = setTimeout(() => stall.abort(new Error(`no data for ${stallLimit / 1000} seconds`)), stallLimit);
    const file = await open(path, "w+");
    try {
        const response = await fetch(url, {headers: {"accept-encoding": "identity"}, signal: stall.signal});
        if (!response.ok || response.body === null) throw new Error(`the answer is ${response.status}`);
        const totalBytes = Number(response.headers.get("content-length") ?? Infinity);
        const end = await readHeader(response.body, file, totalBytes, () => timer.refresh());
        await file.truncate(end);
    } catch (error) {
        if (error instanceof DeltaStoreError) throw error;
        const {cause, message} = error as Error;
        throw new DeltaStoreError("MODEL_DOWNLOAD_FAILED", `The header of ${url} can't be fetched: ${cause instanceof Error ? cause.message : message}`, {cause: error});
    } finally {
        clearTimeout(timer);
        stall.abort();
        await file.close();
    }

    /** Writes a body to the file until its header is there. Gives the bytes of the whole file. */
    async function readHeader(body: AsyncIterable<Uint8Array>, file: FileHandle, totalBytes: number, onData: () => void): Promise<number> {
        let bytes = 0, look = firstLook;
        for await (const chunk of body) {
            onData();
            await file.appendFile(chunk);
            bytes += chunk.length;
            if (bytes < look) continue;
            const end = headerEnd(file, totalBytes);
            if (end !== null) return end;
            if (bytes > mostHeaderBytes) throw damaged(`its header has more than ${mostHeaderBytes} bytes`);
            look = 2 * bytes;
        }
        const end = headerEnd(file, totalBytes);
        if (end === null) throw damaged(`it ends inside its header, at byte ${bytes}`);
        return end;
    }

    /** The bytes of the whole file, or null if the header isn't there yet. */
    function headerEnd({fd}: FileHandle, totalBytes: number): number | null {
        try {
            const ends = readTensors(fd, totalBytes).map(({offset, type, dimensions}) => offset + tensorBytes(type, dimensions));
            return Number.isFinite(totalBytes) ? totalBytes : Math.max(0, ...ends);
        } catch (error) {
            if (error instanceof HeaderCut) return null;
            throw damaged((error as Error).message);
        }
    }

    function damaged(why: string): DeltaStoreError {
        return new DeltaStoreError("MODEL_DAMAGED", `${url} is not a whole GGUF file: ${why}.`);
    }
}
