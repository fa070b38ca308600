import {closeSync, fstatSync, openSync} from "node:fs";
import {DeltaStoreError} from "../errors.js";
import {tensorBytes} from "./ggml-types.js";
import {readTensors} from "./gguf-header.js";
import {partPaths} from "./split-files.js";

export interface ModelWeights {
    readonly parameters: number;
    readonly bytes: number;
}

/**
 * Counts a model's weights by the headers of its files.
 * @param path of its only GGUF file, or of its first
 * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_DAMAGED
 */
export function readWeights(path: string): ModelWeights {
    const tensors = partPaths(path).flatMap(readFile);
    return {
        parameters: tensors.reduce((all, {dimensions}) => all + dimensions.reduce((product, size) => product * size, 1), 0),
        bytes: tensors.reduce((all, {type, dimensions}) => all + tensorBytes(type, dimensions), 0)
    };
}

function readFile(path: string): ReturnType<typeof readTensors> {
    let file: number;
    try {
        file = openSync(path, "r");
    } catch (error) {
        throw new DeltaStoreError("MODEL_NOT_FOUND", `The model file ${path} can't be opened: ${(error as Error).message}`, {cause: error});
    }
    try {
        return readTensors(file, fstatSync(file).size);
    } catch (error) {
        throw new DeltaStoreError("MODEL_DAMAGED", `${path} is not a whole GGUF file: ${(error as Error).message}.`, {cause: error});
    } finally {
        closeSync(file);
    }
}
