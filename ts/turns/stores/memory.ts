import {DeltaStoreError} from "../../errors.js";
import {applyStep} from "./apply-step.js";
import {type Cells, entryCell, holdingsIn, inventoryIn, keysIn, objectCell, type ObjectInfo, readTotal} from "./cells.js";
import {checkName, checkNames} from "./names.js";
import type {Holding, Refusal, SnapshotStore, Step} from "./snapshot-store.js";

/** A store that ends with the process: for tests, and for processes that keep nothing. */
export class MemoryStore implements SnapshotStore {
    readonly place = "memory";
    readonly #cells = new MemoryCells();
    #closed = false;

    async get(key: string): Promise<Uint8Array | undefined> {
        this.#check([key]);
        return this.#cells.get(entryCell(key))?.slice();
    }

    async objects(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
        this.#check(names);
        return names.map((name) => this.#cells.get(objectCell(name))?.slice());
    }

    async stored(names: readonly string[]): Promise<Map<string, Holding>> {
        this.#check(names);
        return holdingsIn(this.#cells, names);
    }

    async step(step: Step): Promise<Refusal | null> {
        this.#check([]);
        checkNames(step);
        return applyStep(this.#cells, step);
    }

    async *keys(prefix: string): AsyncGenerator<string> {
        this.#check([prefix]);
        yield* keysIn(this.#cells, prefix, undefined, Infinity);
    }

    async *inventory(): AsyncGenerator<ObjectInfo> {
        this.#check([]);
        yield* inventoryIn(this.#cells, undefined, Infinity);
    }

    async bytes(): Promise<number> {
        this.#check([]);
        return readTotal(this.#cells);
    }

    async close(): Promise<void> {
        this.#closed = true;
    }

    #check(names: readonly string[]): void {
        if (this.#closed) throw new DeltaStoreError("DISPOSED", "The store in memory was closed.");
        names.forEach(checkName);
    }
}

class MemoryCells implements Cells {
    readonly #values = new Map<string, Uint8Array>();

    get(cell: string): Uint8Array | undefined {
        return this.#values.get(cell);
    }

    put(cell: string, value: Uint8Array): void {
        this.#values.set(cell, new Uint8Array(value));
    }

    remove(cell: string): void {
        this.#values.delete(cell);
    }

    range(prefix: string, after: string | undefined, limit: number): string[] {
        const cells = [...this.#values.keys()].filter((cell) => cell.startsWith(prefix)).map((cell) => Buffer.from(cell)).sort(Buffer.compare)
            .map(String);
        return cells.slice(after === undefined ? 0 : cells.indexOf(after) + 1).slice(0, limit);
    }
}
