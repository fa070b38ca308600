import path from "node:path";
import type {Llama} from "node-llama-cpp";
import {verifyGguf} from "../models/gguf.js";
import {partPaths} from "../models/split-files.js";

/**
 * Has `llama.loadModel` check the model's files first. node-llama-cpp's own reader can run without end on a damaged header.
 * @returns a function that undoes this
 */
export function checkModelFiles(llama: Llama): () => void {
    const loadModel = llama.loadModel;
    const checked: typeof loadModel = async (options) => {
        const modelPath: unknown = options?.modelPath;
        if (typeof modelPath === "string" && !llama.disposed)
            for (const part of partPaths(path.resolve(modelPath))) await verifyGguf(part);
        return await loadModel.call(llama, options);
    };
    llama.loadModel = checked;
    return () => {
        if (llama.loadModel === checked) llama.loadModel = loadModel;
    };
}
