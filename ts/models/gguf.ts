import {open} from "node:fs/promises";
import {DeltaStoreError} from "../errors.js";
import {tensorBytes} from "./ggml-types.js";

/**
 * Checks that a file is a whole GGUF file: its header can be read and the data of every tensor lies inside it. The
 * data itself isn't read. Of a model split into several files only this part is checked.
 * @throws DeltaStoreError MODEL_NOT_FOUND or MODEL_DAMAGED.
 */
export async function verifyGguf(path: string): Promise<void> {
    const bytes = await readMagic(path);
    const {readGgufFileInfo} = await import("node-llama-cpp");
    let info;
    try {
        info = await readGgufFileInfo(path, {sourceType: "filesystem", logWarnings: false, spliceSplitFiles: false});
    } catch (error) {
        throw damaged(path, `its header can't be read: ${(error as Error).message}`, error);
    }
    if (!((info.infoEndOffset ?? 0) <= bytes)) throw damaged(path, `it ends in its header, at byte ${bytes}`);
    const tensors = info.tensorInfo ?? [];
    if (tensors.length !== Number(info.tensorCount))
        throw damaged(path, `its header promises ${info.tensorCount} tensors and describes ${tensors.length}`);
    for (const {name, ggmlType, dimensions, fileOffset} of tensors) {
        const end = Number(fileOffset) + tensorBytes(ggmlType, dimensions);
        if (!(end <= bytes))
            throw damaged(path, `the tensor ${name} ends at byte ${end}, but the file has ${bytes} bytes`);
    }
}

/** The file's size in bytes, once it is known to begin as GGUF files do. */
async function readMagic(path: string): Promise<number> {
    let file;
    try {
        file = await open(path, "r");
    } catch (error) {
        throw notFound(path, (error as Error).message, error);
    }
    try {
        const status = await file.stat();
        if (!status.isFile()) throw notFound(path, "it is not a file");
        const {bytesRead, buffer} = await file.read(Buffer.alloc(4), 0, 4, 0);
        if (bytesRead < 4 || buffer.toString("latin1") !== "GGUF")
            throw damaged(path, 'it does not begin with "GGUF"');
        return status.size;
    } finally {
        await file.close();
    }
}

function notFound(path: string, why: string, cause?: unknown): DeltaStoreError {
    return new DeltaStoreError("MODEL_NOT_FOUND", `The model file ${path} can't be opened: ${why}`, {cause});
}

function damaged(path: string, why: string, cause?: unknown): DeltaStoreError {
    return new DeltaStoreError("MODEL_DAMAGED", `The model file ${path} is not a whole GGUF file: ${why}.`, {cause});
}
