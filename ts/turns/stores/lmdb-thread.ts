import {parentPort, workerData} from "node:worker_threads";
import {LmdbFolder} from "./lmdb-folder.js";
import {worthTransfer} from "./transfer.js";

/** Questions to the thread of an LMDB folder, and its answers. The first answer, to 0, says that the folder is open. */
export interface Request {
    readonly id: number;
    readonly method: keyof LmdbFolder;
    readonly args: readonly unknown[];
}

export type Answer = {readonly id: number; readonly value: unknown} | {readonly id: number; readonly error: Failure};

export interface Failure {
    readonly message: string;
    /** The system's or LMDB's number, or Node's name for it. */
    readonly code: string | number | undefined;
}

const port = parentPort!;
let folder: LmdbFolder | undefined;

await answer(0, () => { folder = new LmdbFolder(workerData as string); });
if (folder === undefined) port.close();
port.on("message", async ({id, method, args}: Request) => {
    await answer(id, () => (folder![method] as (...args: readonly unknown[]) => unknown)(...args));
    if (method === "close") port.close();
});

async function answer(id: number, work: () => unknown): Promise<void> {
    let reply: Answer;
    try {
        reply = {id, value: await work()};
    } catch (error) {
        const {message, code} = error as Error & {code?: string | number};
        reply = {id, error: {message, code}};
    }
    const values = "value" in reply && Array.isArray(reply.value) ? reply.value : [];
    port.postMessage(reply, worthTransfer(values.filter((value) => value instanceof Uint8Array)));
}
