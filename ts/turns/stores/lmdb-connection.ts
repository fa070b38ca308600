import {Worker} from "node:worker_threads";
import {setTimeout} from "node:timers/promises";
import {DeltaStoreError} from "../../errors.js";
import type {LmdbFolder} from "./lmdb-folder.js";
import type {Answer, Failure, Request} from "./lmdb-thread.js";

type Calls = Omit<LmdbFolder, "close">;
type Waiting = {resolve(value: unknown): void; reject(error: Error): void};

/** By path: what the stores on a folder share, as LMDB wants it opened once in a process. */
const connections = new Map<string, {readonly connection: Promise<LmdbConnection>; users: number; closing?: Promise<void>}>();

/** An LMDB folder in a thread of its own, where waiting for locks and for the disk holds up nobody. The thread keeps no process alive. */
export class LmdbConnection {
    readonly #path: string;
    readonly #worker: Worker;
    readonly #exited: Promise<void>;
    readonly #waiting = new Map<number, Waiting>();
    #next = 0;
    #ended: Error | undefined;

    /** The connection that the process has to this folder; `release` it as often. @param path without links */
    static async acquire(path: string): Promise<LmdbConnection> {
        let shared = connections.get(path);
        while (shared?.closing !== undefined) {
            await shared.closing;
            shared = connections.get(path);
        }
        if (shared === undefined) connections.set(path, shared = {connection: LmdbConnection.#open(path), users: 0});
        shared.users++;
        try {
            return await shared.connection;
        } catch (error) {
            if (connections.get(path) === shared) connections.delete(path);
            throw error;
        }
    }

    async release(): Promise<void> {
        const shared = connections.get(this.#path);
        if (shared === undefined || await shared.connection !== this || --shared.users > 0) return;
        shared.closing = this.#close().finally(() => connections.delete(this.#path));
        await shared.closing;
    }

    private constructor(path: string) {
        this.#path = path;
        // Without the options and variables of the process: `--import llama-deltastore/register` is not for this thread.
        this.#worker = new Worker(new URL("./lmdb-thread.js", import.meta.url), {workerData: path, execArgv: [], env: {}, name: "deltastore-lmdb"});
        this.#worker.on("message", (answer: Answer) => this.#settle(answer));
        this.#worker.on("error", (error) => this.#end(error));
        this.#exited = new Promise((resolve) => this.#worker.on("exit", () => {
            this.#end(new Error("its thread ended"));
            resolve();
        }));
    }

    static async #open(path: string): Promise<LmdbConnection> {
        for (let attempt = 1;; attempt++) {
            const connection = new LmdbConnection(path);
            try {
                await connection.#wait(connection.#next++);
                return connection;
            } catch (error) {
                await connection.#exit();
                // EINVAL: another process closed the folder, as its last user, just when this one opened it, and took the locks with it.
                if (attempt === 10 || ((error as Error).cause as Failure | undefined)?.code !== 22) throw error;
                await setTimeout(10 * attempt);
            }
        }
    }

    /** @throws DeltaStoreError STORE_FAILED */
    call<M extends keyof Calls>(method: M, args: Parameters<Calls[M]>, transferred: readonly ArrayBuffer[] = []): Promise<ReturnType<Calls[M]>> {
        const id = this.#next++;
        this.#worker.postMessage({id, method, args} satisfies Request, transferred);
        return this.#wait(id) as Promise<ReturnType<Calls[M]>>;
    }

    async #close(): Promise<void> {
        if (this.#ended !== undefined) return;
        const id = this.#next++;
        this.#worker.postMessage({id, method: "close", args: []} satisfies Request);
        await this.#wait(id);
        await this.#exit();
    }

    /** What is awaited keeps the process: with nothing else to do it would be at its end, where node-llama-cpp disposes everything. */
    async #exit(): Promise<void> {
        this.#worker.ref();
        await this.#exited;
    }

    #wait(id: number): Promise<unknown> {
        return new Promise((resolve, reject) => {
            if (this.#ended !== undefined) return reject(this.#failure(this.#ended));
            this.#waiting.set(id, {resolve, reject});
            this.#worker.ref();
        });
    }

    #settle(answer: Answer): void {
        const waiting = this.#waiting.get(answer.id);
        this.#waiting.delete(answer.id);
        if (this.#waiting.size === 0) this.#worker.unref();
        if ("error" in answer) waiting?.reject(this.#failure(answer.error));
        else waiting?.resolve(answer.value);
    }

    #end(cause: Error): void {
        this.#ended ??= cause;
        for (const {reject} of this.#waiting.values()) reject(this.#failure(this.#ended));
        this.#waiting.clear();
    }

    #failure(cause: Error | Failure): DeltaStoreError {
        // LMDB's word for writing less than it wanted to.
        const why = (cause as Partial<Failure>).code === 5 ? `${cause.message}; the disk may be full` : cause.message;
        return new DeltaStoreError("STORE_FAILED", `The store in ${this.#path} failed: ${why}.`, {cause});
    }
}
