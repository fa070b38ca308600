import {createHash} from "node:crypto";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import type {MemoryStore, SnapshotStore, Turns} from "llama-deltastore";
import type {LlamaContextSequence, Token} from "node-llama-cpp";
import type {Test} from "tap";
import {randomTokens} from "./engine.js";

/** A folder for a store, which goes with the test. */
export function storeFolder(t: Test): string {
    const folder = mkdtempSync(join(tmpdir(), "deltastore-turns-"));
    t.teardown(() => rmSync(folder, {recursive: true, force: true}));
    return folder;
}

/** Tokens to go on with. */
export const moreTokens = (count: number, seed: number): Token[] => randomTokens(count + 1, seed).slice(1);

/** Logits of the token after these, which the sequence then holds. */
export async function nextLogits(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<Float32Array> {
    const results = await sequence.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, {generateNext: {logits: true}}]]);
    const logits = results.at(-1)!.next.logits!;
    return Float32Array.from({length: logits.size}, (_, token) => logits.get(token as Token)!);
}

/** The logits after each of several batches: so many tokens that pages fill and rows are packed and evicted. */
export async function goOn(sequence: LlamaContextSequence, seed: number, sizes: readonly number[] = [1, 30, 70, 100]): Promise<Float32Array[]> {
    const rows: Float32Array[] = [];
    for (const [index, size] of sizes.entries()) rows.push(await nextLogits(sequence, moreTokens(size, seed + index)));
    return rows;
}

/** That logits are the same, bit for bit. */
export function sameLogits(t: Test, found: readonly Float32Array[], expected: readonly Float32Array[], what = "the same logits"): void {
    const digests = (rows: readonly Float32Array[]) => rows.map((row) => createHash("sha256").update(row).digest("hex").slice(0, 12));
    t.strictSame(digests(found), digests(expected), what);
}

export interface Inventory {
    objects: number;
    bytes: number;
}

export async function inventoryOf(store: SnapshotStore): Promise<Inventory> {
    const all = {objects: 0, bytes: 0};
    for await (const {bytes} of store.inventory()) {
        all.objects++;
        all.bytes += bytes;
    }
    return all;
}

/** That the store holds what its conversations do, no more and no less, and all of it can be read. */
export async function isWell(t: Test, turns: Turns): Promise<void> {
    t.strictSame((await turns.verify()).problems, []);
}

/** A store whose methods can be replaced, one by one. */
export function wrapped(store: MemoryStore, methods: Partial<SnapshotStore> = {}): SnapshotStore {
    return {
        place: store.place, get: (key) => store.get(key), objects: (names) => store.objects(names), stored: (names) => store.stored(names),
        step: (step) => store.step(step), keys: (prefix) => store.keys(prefix), inventory: () => store.inventory(), bytes: () => store.bytes(),
        close: () => store.close(), ...methods
    };
}

export const settled = (milliseconds = 50): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
