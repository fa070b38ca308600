import {realpath} from "node:fs/promises";
import {resolve} from "node:path";
import {inspect} from "node:util";
import {DeltaStoreError} from "../../errors.js";
import {makeFolder} from "../../make-folder.js";
import {invalid} from "../../options.js";
import type {ObjectInfo} from "./cells.js";
import {LmdbConnection} from "./lmdb-connection.js";
import {checkName, checkNames} from "./names.js";
import type {Holding, Refusal, SnapshotStore, Step} from "./snapshot-store.js";
import {worthTransfer} from "./transfer.js";

/** Names that are asked for at once. */
const batch = 1000;

/** A store in a folder. Processes of one machine may share it. Not for network file systems; in a process only one thread may use it. */
export class LmdbStore implements SnapshotStore {
    readonly place: string;
    readonly #connection: LmdbConnection;
    readonly #underWay = new Set<Promise<unknown>>();
    #closed: Promise<void> | undefined;

    /**
     * Opens a store in this folder, which is made if need be. Only its owner can read it.
     * @throws DeltaStoreError STORE_FAILED: no permission, or files that are damaged or another program's; OPTION_INVALID
     */
    static async open(path: string): Promise<LmdbStore> {
        if (typeof path !== "string" || path === "") throw invalid(`The store's folder is ${inspect(path, {depth: 0})}; allowed is a path`);
        let folder = resolve(path);
        try {
            await makeFolder(folder, 0o700);
            folder = await realpath(folder);
        } catch (error) {
            throw new DeltaStoreError("STORE_FAILED", `The store's folder ${folder} can't be made: ${(error as Error).message}.`, {cause: error});
        }
        return new LmdbStore(folder, await LmdbConnection.acquire(folder));
    }

    private constructor(place: string, connection: LmdbConnection) {
        this.place = place;
        this.#connection = connection;
    }

    async get(key: string): Promise<Uint8Array | undefined> {
        checkName(key);
        return await this.#run(() => this.#connection.call("get", [key]));
    }

    async objects(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
        names.forEach(checkName);
        return await this.#run(() => this.#connection.call("objects", [names]));
    }

    async stored(names: readonly string[]): Promise<Map<string, Holding>> {
        names.forEach(checkName);
        return await this.#run(() => this.#connection.call("stored", [names]));
    }

    async step(step: Step): Promise<Refusal | null> {
        checkNames(step);
        return await this.#run(() => {
            const values: Uint8Array[] = [];
            return this.#connection.call("step", [copyOf(step, values)], worthTransfer(values));
        });
    }

    async *keys(prefix: string): AsyncGenerator<string> {
        checkName(prefix);
        yield* this.#pages((after: string | undefined) => this.#connection.call("keys", [prefix, after, batch]), (key) => key);
    }

    async *inventory(): AsyncGenerator<ObjectInfo> {
        yield* this.#pages((after: string | undefined) => this.#connection.call("inventory", [after, batch]), ({name}) => name);
    }

    async bytes(): Promise<number> {
        return await this.#run(() => this.#connection.call("bytes", []));
    }

    close(): Promise<void> {
        return this.#closed ??= Promise.allSettled(this.#underWay).then(() => this.#connection.release());
    }

    async *#pages<T>(page: (after: string | undefined) => Promise<T[]>, nameOf: (item: T) => string): AsyncGenerator<T> {
        let items: T[], after: string | undefined;
        do {
            items = await this.#run(() => page(after));
            yield* items;
            if (items.length > 0) after = nameOf(items.at(-1)!);
        } while (items.length === batch);
    }

    async #run<T>(work: () => Promise<T>): Promise<T> {
        if (this.#closed !== undefined) throw new DeltaStoreError("DISPOSED", `The store in ${this.place} was closed.`);
        const result = work();
        this.#underWay.add(result);
        try {
            return await result;
        } finally {
            this.#underWay.delete(result);
        }
    }
}

/** A step with copies of its values, which another thread can have whatever the caller does to its own. */
function copyOf(step: Step, copies: Uint8Array[]): Step {
    const copy = (value: Uint8Array): Uint8Array => {
        const bytes = new Uint8Array(value);
        copies.push(bytes);
        return bytes;
    };
    const pairs = (from: Step["put"] = []) => from.map(([name, value]) => [name, copy(value)] as const);
    return {
        ...step, put: pairs(step.put), objects: pairs(step.objects), replace: pairs(step.replace),
        expect: (step.expect ?? []).map(([name, value]) => [name, value && copy(value)] as const)
    };
}
