import {statSync} from "node:fs";
import {join} from "node:path";
import type {RootDatabase} from "lmdb";
import {applyStep} from "./apply-step.js";
import {type Cells, entryCell, holdingsIn, inventoryIn, keysIn, objectCell, type ObjectInfo, readTotal} from "./cells.js";
import {openEnvironment} from "./lmdb-environment.js";
import type {Holding, Refusal, Step} from "./snapshot-store.js";

const versionCell = "version", version = "deltastore 1";

/**
 * An LMDB environment in a folder. Every method is done when it returns. A process opens one at a time for a folder: a second one would release LMDB's
 * lock on the first.
 *
 * Whoever opens or writes holds the write lock of a second, empty environment. Otherwise opening while another process commits may undo the commit
 * (ITS#9496, which lmdb 3.5.6 has). And the check for damage needs a file that nobody changes.
 */
export class LmdbFolder {
    readonly #path: string;
    readonly #gate: RootDatabase<Uint8Array, Uint8Array>;
    readonly #data: RootDatabase<Uint8Array, Uint8Array>;
    readonly #cells: Cells;
    readonly #inode: number;
    /** The largest size that the data file had. LMDB never makes it smaller. */
    #fileBytes = 0;

    constructor(path: string) {
        this.#path = path;
        this.#gate = openEnvironment(path, "gate");
        this.#data = this.#gate.transactionSync(() => openEnvironment(path, "data"));
        this.#cells = new LmdbCells(this.#data);
        this.#inode = statSync(this.#file).ino;
        this.#write(() => {
            const found = this.#cells.get(versionCell);
            if (found === undefined && this.#cells.range("", undefined, 1).length > 0) throw new Error("its file data.mdb is another program's");
            if (found === undefined) this.#cells.put(versionCell, Buffer.from(version));
            else if (Buffer.from(found).toString() !== version) throw new Error("another version of this package wrote it, which this one can't read");
        });
    }

    get(key: string): Uint8Array | undefined {
        return this.#read().get(entryCell(key));
    }

    objects(names: readonly string[]): (Uint8Array | undefined)[] {
        const cells = this.#read();
        return names.map((name) => cells.get(objectCell(name)));
    }

    stored(names: readonly string[]): Map<string, Holding> {
        return holdingsIn(this.#read(), names);
    }

    step(step: Step): Refusal | null {
        return this.#write(() => applyStep(this.#cells, step));
    }

    keys(prefix: string, after: string | undefined, limit: number): string[] {
        return keysIn(this.#read(), prefix, after, limit);
    }

    inventory(after: string | undefined, limit: number): ObjectInfo[] {
        return inventoryIn(this.#read(), after, limit);
    }

    bytes(): number {
        return readTotal(this.#read());
    }

    async close(): Promise<void> {
        await this.#data.close();
        await this.#gate.close();
    }

    get #file(): string {
        return join(this.#path, "data.mdb");
    }

    /** The cells as they are now, with other processes' steps. */
    #read(): Cells {
        this.#checkFile();
        this.#data.resetReadTxn();
        return this.#cells;
    }

    /** When this returns, all that `work` changes is on disk. If it throws, nothing is changed. */
    #write<T>(work: () => T): T {
        return this.#gate.transactionSync(() => {
            this.#checkFile();
            return this.#data.transactionSync(work);
        });
    }

    /** Checks the file: LMDB would go on with a deleted one, and a shorter one would kill the process. */
    #checkFile(): void {
        const stats = statSync(this.#file, {throwIfNoEntry: false});
        if (stats?.ino !== this.#inode) throw new Error("its data file was deleted or replaced while it was open");
        if (stats.size < this.#fileBytes) throw new Error("its data file was cut while it was open");
        this.#fileBytes = stats.size;
    }
}

class LmdbCells implements Cells {
    readonly #database: RootDatabase<Uint8Array, Uint8Array>;

    constructor(database: RootDatabase<Uint8Array, Uint8Array>) {
        this.#database = database;
    }

    /** A copy of LMDB's buffer, which is valid until the next read only and may be longer than its `length`. */
    get(cell: string): Uint8Array | undefined {
        const value = this.#database.getBinaryFast(Buffer.from(cell));
        return value && Uint8Array.prototype.slice.call(value, 0, value.length);
    }

    put(cell: string, value: Uint8Array): void {
        this.#database.putSync(Buffer.from(cell), value);
    }

    remove(cell: string): void {
        this.#database.removeSync(Buffer.from(cell));
    }

    range(prefix: string, after: string | undefined, limit: number): string[] {
        const start = Buffer.from(after ?? prefix), end = Buffer.concat([Buffer.from(prefix), Buffer.of(0xff)]);
        const keys = this.#database.getKeys({...start.length > 0 ? {start} : {}, end, limit, exclusiveStart: after !== undefined});
        return Array.from(keys, (key) => Buffer.from(key).toString());
    }
}
