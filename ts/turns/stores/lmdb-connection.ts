import {Worker} from "node:worker_threads";
import {setTimeout} from "node:timers/promises";
import {DeltaStoreError} from "../../errors.js";
import type {LmdbFolder} from "./lmdb-folder.js";
import type {Answer, Failure, Request} from "./lmdb-thread.js";

type Calls = Omit<LmdbFolder, "close">;
type Waiting = {resolve(value: unknown): void; reject(error: Error): void};

/** Connections by path. Stores on a folder share one, since a process may open an LMDB environment only once. */
const connections = new Map<string, {readonly connection: Promise<LmdbConnection>; users: number; closing?: Promise<void>}>();

/** An LMDB folder in a thread of its own, so that waiting for locks and for the disk holds nobody up. The thread does not keep the process alive. */
export class LmdbConnection {
    readonly #path: string;
    readonly #worker: Worker;
    readonly #exited: Promise<void>;
    readonly #waiting = new Map<number, Waiting>();
    #next = 0;
    #ended: Error | undefined;

    /** The process's connection to this folder. Each call needs a `release`. @param path without links */
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
        // Without the process's options and variables: `--import llama-deltastore/register` must not run in this thread.
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
                // EINVAL: another process, the last user, closed the folder just when this one opened it. The locks went with it.
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

    /** A call that is awaited keeps the process alive. Otherwise an idle process would end, and node-llama-cpp would dispose everything. */
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
        // LMDB's error for a write that was cut short.
        const why = (cause as Partial<Failure>).code === 5 ? `${cause.message}; the disk may be full` : cause.message;
        return new DeltaStoreError("STORE_FAILED", `The store in ${this.#path} failed: ${why}.`, {cause});
    }
}
