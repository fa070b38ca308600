import {rm} from "node:fs/promises";
import {join} from "node:path";
import type {ModelSource} from "./model-source.js";

/** Milliseconds to wait for the site's first answer, and for the next bytes of a download. */
const answerLimit = 15_000;
const stallLimit = 60_000;

/** Hugging Face, by node-llama-cpp's downloader. It goes on where an interrupted download stopped. */
export const huggingFace: ModelSource = {
    title: "Hugging Face",
    async fetch(model, folder, {onProgress, signal}, accept) {
        await requireAnswer(endpoint(), signal);
        const {createModelDownloader} = await import("node-llama-cpp");
        const working = join(folder, ".huggingface");
        const watch = watchForStall(signal);
        let downloaded: string;
        try {
            downloaded = await Promise.race([watch.stalled, (async () => {
                const downloader = await createModelDownloader({
                    modelUri: model.huggingFaceUri,
                    dirPath: working,
                    fileName: model.fileName,
                    deleteTempFileOnCancel: false,
                    onProgress: ({downloadedSize, totalSize}) => {
                        watch.touch(downloadedSize);
                        onProgress?.({source: "huggingface", bytes: downloadedSize, totalBytes: totalSize});
                    }
                });
                return await downloader.download({signal: watch.signal});
            })()]);
        } finally {
            watch.stop();
        }
        try {
            await accept(downloaded);
        } finally {
            await rm(working, {recursive: true, force: true});
        }
    }
};

/** The site, or its mirror. node-llama-cpp's downloader reads the same variables. */
function endpoint(): string {
    return process.env["MODEL_ENDPOINT"] || process.env["HF_ENDPOINT"] || "https://huggingface.co/";
}

/** Without a network the downloader tries again for minutes, and says nothing. This says so at once. */
async function requireAnswer(url: string, signal: AbortSignal | undefined): Promise<void> {
    const limit = AbortSignal.timeout(answerLimit);
    try {
        await fetch(url, {method: "HEAD", signal: signal === undefined ? limit : AbortSignal.any([signal, limit])});
    } catch (error) {
        const {cause, message} = error as Error;
        const reason = limit.aborted ? `nothing within ${answerLimit / 1000} seconds`
            : cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : message;
        throw new Error(`${url} doesn't answer: ${reason}`, {cause: error});
    }
}

interface StallWatch {
    /** Aborted by the caller's signal or a stall. */
    readonly signal: AbortSignal;
    /** Rejects when the signal is aborted. */
    readonly stalled: Promise<never>;
    touch(bytes: number): void;
    stop(): void;
}

function watchForStall(outer: AbortSignal | undefined): StallWatch {
    const stall = new AbortController();
    const signal = outer === undefined ? stall.signal : AbortSignal.any([outer, stall.signal]);
    const stalled = new Promise<never>((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), {once: true});
    });
    stalled.catch(() => undefined);
    const timer = setTimeout(() => {
        stall.abort(new Error(`no data for ${stallLimit / 1000} seconds`));
    }, stallLimit);
    let last = 0;
    return {
        signal, stalled,
        touch(bytes) {
            if (bytes === last) return;
            last = bytes;
            timer.refresh();
        },
        stop: () => clearTimeout(timer)
    };
}
