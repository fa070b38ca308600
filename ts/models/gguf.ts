import {open, type FileHandle} from "node:fs/promises";
import {DeltaStoreError} from "../errors.js";
import {tensorBytes} from "./ggml-types.js";
import {readTensors, type GgufTensor} from "./gguf-header.js";

/**
 * Checks that a file is a whole GGUF file: its header can be read, and the data of every tensor lies inside the file. The
 * data itself isn't read. Of a model that is split into several files, only this one is checked.
 * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_DAMAGED
 */
export async function verifyGguf(path: string): Promise<void> {
    const {tensors, fileBytes} = await readGguf(path);
    for (const {name, type, dimensions, offset} of tensors) {
        const end = offset + tensorBytes(type, dimensions);
        if (!(end <= fileBytes)) throw damaged(path, `the tensor ${name} ends at byte ${end}, but the file has ${fileBytes} bytes`);
    }
}

/**
 * The tensors that a file's header describes.
 * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_DAMAGED
 */
export async function readGguf(path: string): Promise<{tensors: GgufTensor[]; fileBytes: number}> {
    const file = await openFile(path);
    try {
        const status = await file.stat();
        if (!status.isFile()) throw notFound(path, "it is not a file");
        return {tensors: tensorsIn(path, file.fd, status.size), fileBytes: status.size};
    } finally {
        await file.close();
    }
}

async function openFile(path: string): Promise<FileHandle> {
    try {
        return await open(path, "r");
    } catch (error) {
        throw notFound(path, (error as Error).message, error);
    }
}

function tensorsIn(path: string, descriptor: number, fileBytes: number): GgufTensor[] {
    try {
        return readTensors(descriptor, fileBytes);
    } catch (error) {
        throw damaged(path, (error as Error).message, error);
    }
}

function notFound(path: string, why: string, cause?: unknown): DeltaStoreError {
    return new DeltaStoreError("MODEL_NOT_FOUND", `The model file ${path} can't be opened: ${why}`, {cause});
}

function damaged(path: string, why: string, cause?: unknown): DeltaStoreError {
    return new DeltaStoreError("MODEL_DAMAGED", `The model file ${path} is not a whole GGUF file: ${why}.`, {cause});
}
