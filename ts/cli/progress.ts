import {Presets, SingleBar} from "cli-progress";
import {formatBytes} from "../policy/bytes.js";
import type {ModelProgress} from "../models/model-source.js";
import {printNote} from "./output.js";

const lineInterval = 5000;  // milliseconds between lines, where there is no terminal

const titles: Readonly<Record<ModelProgress["source"], string>> = {pypi: "PyPI", huggingface: "Hugging Face"};

export interface StepProgress {
    onStep(done: number, total: number, label: string): void;
    stop(): void;
}

/** Shows the steps of a work as a bar on stderr. Shows nothing where there is no terminal. */
export function showSteps(): StepProgress {
    if (!process.stderr.isTTY) return {onStep: () => undefined, stop: () => undefined};
    const bar = new SingleBar({
        format: "[{bar}] {value} of {total}, {eta_formatted} left: {label}", hideCursor: true, clearOnComplete: true, stream: process.stderr
    }, Presets.shades_classic);
    let started = false;
    return {
        onStep(done, total, label) {
            if (started) bar.update(done, {label});
            else bar.start(total, done, {label});
            started = true;
        },
        stop: () => bar.stop()
    };
}

export interface DownloadProgress {
    onProgress(progress: ModelProgress): void;
    /** `whole`: the model is there, although the last report may have come before its last bytes. */
    stop(whole: boolean): void;
}

/** Shows a download on stderr: as a bar on a terminal, elsewhere by a line now and then. */
export function showDownload(name: string): DownloadProgress {
    return process.stderr.isTTY ? showBar(name) : showLines(name);
}

function showBar(name: string): DownloadProgress {
    const bar = new SingleBar({
        format: `${name} from {source} [{bar}] {percentage}% {size}`, hideCursor: true, clearOnComplete: false,
        stream: process.stderr
    }, Presets.shades_classic);
    let last: ModelProgress | null = null;
    const show = ({source, bytes, totalBytes}: ModelProgress): void => {
        const shown = {source: titles[source], size: `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`};
        if (last === null) bar.start(totalBytes, bytes, shown);
        bar.setTotal(totalBytes);
        bar.update(bytes, shown);
    };
    return {
        onProgress(progress) {
            show(progress);
            last = progress;
        },
        stop(whole) {
            if (last === null) return;
            if (whole) show({...last, bytes: last.totalBytes});
            bar.stop();
        }
    };
}

function showLines(name: string): DownloadProgress {
    let next = 0;
    let last: ModelProgress | null = null;
    let shown = -1;
    const show = ({source, bytes, totalBytes}: ModelProgress): void => {
        shown = bytes;
        const percentage = Math.floor(bytes * 100 / totalBytes);
        printNote(`${name} from ${titles[source]}: ${formatBytes(bytes)} of ${formatBytes(totalBytes)}, ${percentage}%`);
    };
    return {
        onProgress(progress) {
            last = progress;
            if (Date.now() < next) return;
            next = Date.now() + lineInterval;
            show(progress);
        },
        stop(whole) { if (whole && last !== null && shown < last.totalBytes) show({...last, bytes: last.totalBytes}); }
    };
}
