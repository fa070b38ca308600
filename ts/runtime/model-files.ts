import path from "node:path";
import type {Llama} from "node-llama-cpp";
import {verifyGguf} from "../models/gguf.js";

/**
 * Has `llama.loadModel` check the model's files first. node-llama-cpp's own reader can run without end on a damaged header.
 * @returns a function that undoes this
 */
export function checkModelFiles(llama: Llama): () => void {
    const loadModel = llama.loadModel;
    const checked: typeof loadModel = async (options) => {
        const modelPath: unknown = options?.modelPath;
        if (typeof modelPath === "string" && !llama.disposed)
            for (const part of partsOf(path.resolve(modelPath))) await verifyGguf(part);
        return await loadModel.call(llama, options);
    };
    llama.loadModel = checked;
    return () => {
        if (llama.loadModel === checked) llama.loadModel = loadModel;
    };
}

/** All files of a split model, by llama.cpp's names for them. node-llama-cpp reads them all, whichever of them is given. */
export function partsOf(modelPath: string): string[] {
    const [suffix, part, parts] = /-(\d{5})-of-(\d{5})\.gguf$/.exec(modelPath) ?? [];
    if (suffix === undefined || Number(part) < 1 || Number(part) > Number(parts)) return [modelPath];
    const stem = modelPath.slice(0, -suffix.length);
    return Array.from({length: Number(parts)}, (_, index) => `${stem}-${String(index + 1).padStart(5, "0")}-of-${parts}.gguf`);
}
