import {spawnSync} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {MemoryStore, type SnapshotStore, type Turns} from "llama-deltastore";
import type {Test} from "tap";
import {root} from "./paths.js";

/** A folder for a store, which goes with the test. */
export function storeFolder(t: Test): string {
    const folder = mkdtempSync(join(tmpdir(), "deltastore-turns-"));
    t.teardown(() => rmSync(folder, {recursive: true, force: true}));
    return folder;
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

/** Checks that the store holds what its conversations do, no more and no less, and that all of it can be read. */
export async function isWell(t: Test, turns: Turns): Promise<void> {
    t.strictSame((await turns.verify()).problems, []);
}

interface Elsewhere {
    evaluated: number;
    tokens: number;
    /** The logits after each batch. */
    rows: Float32Array[];
}

/** What a process of its own has, which restores a conversation and goes on with batches. `argument`: see the fixture. */
export function restoredElsewhere(t: Test, argument: object): Elsewhere {
    const {status, stdout, stderr} = spawnSync(process.execPath, [join(root, "test/fixtures/turn-logits.mjs"), JSON.stringify(argument)], {
        encoding: "utf8", timeout: 60_000
    });
    t.equal(status, 0, stderr);
    const {rows, ...rest} = JSON.parse(stdout) as {evaluated: number; tokens: number; rows: number[][]};
    return {...rest, rows: rows.map((row) => Float32Array.from(row))};
}

/** A store whose methods can be replaced, one by one. */
export function wrapped(store: MemoryStore, methods: Partial<SnapshotStore> = {}): SnapshotStore {
    return {
        place: store.place, get: (key) => store.get(key), objects: (names) => store.objects(names), stored: (names) => store.stored(names),
        step: (step) => store.step(step), keys: (prefix) => store.keys(prefix), inventory: () => store.inventory(), bytes: () => store.bytes(),
        close: () => store.close(), ...methods
    };
}
