import {createWriteStream} from "node:fs";
import {pipeline} from "node:stream/promises";
import yauzl, {type Entry, type ZipFile} from "yauzl";

/**
 * Writes the zip's first file of this name behind what `target` has, in whatever folder it is. yauzl checks its size, the caller its
 * contents.
 * @throws Error if the zip is damaged or has no such file, or the signal's reason
 */
export async function appendFromZip(zipPath: string, fileName: string, target: string, signal?: AbortSignal): Promise<void> {
    const zip = await openZip(zipPath);
    try {
        const entry = await findEntry(zip, fileName);
        if (entry === null) throw new Error(`there is no ${fileName} in ${zipPath}`);
        const source = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
            zip.openReadStream(entry, (error, stream) => error === null ? resolve(stream) : reject(error));
        });
        await pipeline(source, createWriteStream(target, {flags: "a"}), signal === undefined ? {} : {signal});
    } finally {
        zip.close();
    }
}

function openZip(path: string): Promise<ZipFile> {
    return new Promise((resolve, reject) => {
        yauzl.open(path, {lazyEntries: true, autoClose: false}, (error, zip) =>
            error === null ? resolve(zip) : reject(error));
    });
}

function findEntry(zip: ZipFile, fileName: string): Promise<Entry | null> {
    return new Promise((resolve, reject) => {
        zip.on("entry", (entry: Entry) => {
            if (entry.fileName.split("/").at(-1) === fileName) resolve(entry);
            else zip.readEntry();
        });
        zip.on("end", () => resolve(null));
        zip.on("error", reject);
        zip.readEntry();
    });
}
