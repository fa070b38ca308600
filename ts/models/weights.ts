import {tensorBytes} from "./ggml-types.js";
import {readGguf} from "./gguf.js";
import {partPaths} from "./split-files.js";

export interface ModelWeights {
    readonly parameters: number;
    readonly bytes: number;
}

/**
 * Counts a model's weights by the headers of its files.
 * @param path of one of its GGUF files
 * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_DAMAGED
 */
export async function readWeights(path: string): Promise<ModelWeights> {
    const tensors = (await Promise.all(partPaths(path).map(readGguf))).flatMap((file) => file.tensors);
    return {
        parameters: tensors.reduce((all, {dimensions}) => all + dimensions.reduce((product, size) => product * size, 1), 0),
        bytes: tensors.reduce((all, {type, dimensions}) => all + tensorBytes(type, dimensions), 0)
    };
}
