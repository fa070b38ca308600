import {existsSync, mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import path from "node:path";
import type {OpenCache} from "./open-cache.js";
import {repeatStockState} from "./stock-state.js";

const sampleTokens = 512;

/** Brings caches to a depth. What was evaluated once is kept in state files, as deep as the deepest so far. */
export class Filling {
    readonly #folder = mkdtempSync(path.join(tmpdir(), "deltastore-bench-"));
    readonly #depths = new Map<string, number>();

    constructor() {
        process.once("exit", () => rmSync(this.#folder, {recursive: true}));
    }

    /** Fills every sequence of an empty cache; a cache must not be filled less deep than before. */
    async fill(open: OpenCache, depth: number): Promise<void> {
        if (depth === 0) return;
        const file = path.join(this.#folder, `${open.name}.state`);
        await (open.cache.bitsPerValue === undefined ? this.#evaluate(open, file, depth) : this.#repeat(open, file, depth));
        await open.load(file, depth);
    }

    async #evaluate(open: OpenCache, file: string, depth: number): Promise<void> {
        const reached = this.#depths.get(open.name) ?? 0;
        if (reached === depth) return;
        if (reached > 0) await open.load(file, reached);
        await open.prefill(reached, depth);
        await open.save(file, depth);
        this.#depths.set(open.name, depth);
    }

    async #repeat(open: OpenCache, file: string, depth: number): Promise<void> {
        const sample = `${file}.sample`;
        if (!existsSync(sample)) {
            const small = await open.runtime.openCache(open.cache, sampleTokens);
            await small.prefill(0, sampleTokens);
            await small.save(sample, sampleTokens);
            await small.dispose();
        }
        repeatStockState(sample, file, depth, open.sequences);
    }
}
