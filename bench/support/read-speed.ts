import {availableParallelism} from "node:os";
import {isMainThread, parentPort, Worker} from "node:worker_threads";
import {fileURLToPath} from "node:url";

const bytes = 2 ** 28;

/**
 * Bytes a second that so many threads read from memory together. Each searches a buffer of its own, of 256 MiB, for a byte that is not in
 * it: Buffer.indexOf is the C library's search. The best of eight times counts.
 */
export async function memoryReadSpeed(threads: number): Promise<number> {
    const workers = Array.from({length: Math.min(threads, availableParallelism())}, () => new Worker(fileURLToPath(import.meta.url)));
    const answer = (worker: Worker) => new Promise<unknown>((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await Promise.all(workers.map(answer));
    let best = 0;
    for (let i = 0; i < 8; i++) {
        const start = performance.now();
        const done = workers.map(answer);
        for (const worker of workers) worker.postMessage(null);
        await Promise.all(done);
        best = Math.max(best, workers.length * bytes / (performance.now() - start) * 1000);
    }
    await Promise.all(workers.map((worker) => worker.terminate()));
    return best;
}

if (!isMainThread && parentPort !== null) {
    const port = parentPort, buffer = Buffer.alloc(bytes, 1);
    port.on("message", () => port.postMessage(buffer.indexOf(2)));
    port.postMessage(null);
}
