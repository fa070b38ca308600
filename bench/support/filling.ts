import {existsSync, mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import path from "node:path";
import {onlyAttention} from "./bench-model.js";
import type {OpenCache} from "./open-cache.js";
import type {Runtime} from "./runtime.js";
import {repeatStockState} from "./stock-state.js";

const sampleTokens = 512;

/** Brings caches to a depth. What was evaluated once is kept in state files. */
export class Filling {
    readonly #folder = mkdtempSync(path.join(tmpdir(), "deltastore-bench-"));
    readonly #evaluated: {name: string; depth: number; file: string}[] = [];
    readonly #runtime: Runtime;

    constructor(runtime: Runtime) {
        this.#runtime = runtime;
        process.once("exit", () => rmSync(this.#folder, {recursive: true}));
    }

    /** Fills every sequence of an empty cache. */
    async fill(open: OpenCache, depth: number): Promise<void> {
        if (depth === 0) return;
        const repeats = open.cache.bitsPerValue !== undefined && onlyAttention(this.#runtime.shape);
        await open.load(await (repeats ? this.#repeat(open, depth) : this.#evaluate(open, depth)), depth);
    }

    /** Brings a cache that was filled to this depth, and went on, back to it. */
    async back(open: OpenCache, depth: number): Promise<void> {
        if (onlyAttention(this.#runtime.shape)) return open.cut(depth);
        open.cut(0);
        await this.fill(open, depth);
    }

    async #evaluate(open: OpenCache, depth: number): Promise<string> {
        const [deepest] = this.#evaluated.filter((kept) => kept.name === open.name && kept.depth <= depth).sort((a, b) => b.depth - a.depth);
        if (deepest?.depth === depth) return deepest.file;
        if (deepest !== undefined) await open.load(deepest.file, deepest.depth);
        const file = path.join(this.#folder, `${open.name}.${depth}.state`);
        await open.prefill(deepest?.depth ?? 0, depth);
        await open.save(file, depth);
        this.#evaluated.push({name: open.name, depth, file});
        return file;
    }

    async #repeat(open: OpenCache, depth: number): Promise<string> {
        const file = path.join(this.#folder, `${open.name}.state`), sample = `${file}.sample`;
        if (!existsSync(sample)) {
            const small = await this.#runtime.openCache(open.cache, sampleTokens);
            await small.prefill(0, sampleTokens);
            await small.save(sample, sampleTokens);
            await small.dispose();
        }
        repeatStockState(sample, file, depth, open.sequences);
        return file;
    }
}
