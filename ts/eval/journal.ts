import {appendFileSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync} from "node:fs";
import {DeltaStoreError} from "../errors.js";
import {quoteList} from "../nearest.js";

/** What all results of a journal have in common. */
export type JournalSetup = Readonly<Record<string, string>>;

/**
 * Results that are written as they are made. So a run that was interrupted goes on where it stopped. The file has lines of JSON, the setup
 * first. A last line that was cut off counts as not written, and a file without results as no file. Without a path results stay in memory.
 */
export class Journal {
    readonly #values = new Map<string, unknown>();
    readonly #path: string | null;

    /** @throws DeltaStoreError OPTION_INVALID if the file is of another setup, or can't be read or written */
    constructor(path: string | null, setup: JournalSetup) {
        this.#path = path;
        if (path === null) return;
        if (existsSync(path)) this.#read(path, setup);
        if (this.size === 0) this.#write(() => writeFileSync(path, line(setup)));
    }

    /** Number of results. */
    get size(): number {
        return this.#values.size;
    }

    get(key: readonly string[]): unknown {
        return this.#values.get(JSON.stringify(key));
    }

    add(key: readonly string[], value: unknown): void {
        this.#values.set(JSON.stringify(key), value);
        const path = this.#path;
        if (path !== null) this.#write(() => appendFileSync(path, line({key, value})));
    }

    /** Deletes the file. */
    remove(): void {
        if (this.#path !== null) rmSync(this.#path, {force: true});
    }

    #read(path: string, setup: JournalSetup): void {
        const text = this.#write(() => readFileSync(path, "utf8"));
        const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").slice(0, -1);
        let written: JournalSetup, entries: {key: string[]; value: unknown}[];
        try {
            [written, ...entries] = lines.map((line) => JSON.parse(line)) as [JournalSetup, ...typeof entries];
            for (const {key, value} of entries) this.#values.set(JSON.stringify(key), value);
        } catch (error) {
            throw new DeltaStoreError("OPTION_INVALID", `${path} is no file of unfinished results. Delete it, or give another --out`, {cause: error});
        }
        if (this.size === 0) return;
        const differing = Object.keys(setup).filter((name) => written?.[name] !== setup[name]);
        if (differing.length > 0)
            throw new DeltaStoreError("OPTION_INVALID", `${path} has the results of an interrupted run that differs in ${quoteList(differing)}. ` +
                "Delete it, or give another --out");
        truncateSync(path, Buffer.byteLength(lines.join("\n")) + 1);
    }

    #write<T>(work: () => T): T {
        try {
            return work();
        } catch (error) {
            throw new DeltaStoreError("OPTION_INVALID", `The results can't be kept in ${this.#path}: ${(error as Error).message}`, {cause: error});
        }
    }
}

const line = (value: unknown) => `${JSON.stringify(value)}\n`;
