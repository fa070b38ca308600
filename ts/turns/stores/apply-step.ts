import {type Cells, entryCell, objectCell, holdingCell, readHolding, readTotal, writeHolding, writeTotal} from "./cells.js";
import type {Refusal, Step} from "./snapshot-store.js";

/** An object that a step counts: as it is stored (null: not yet), and its holders after the step. */
interface Counted {
    readonly stored: {readonly holders: number; readonly bytes: number} | null;
    holders: number;
    gone: boolean;
}

/** Makes a step's changes, or none if it is refused. Each cell is written once. The caller makes sure that nobody else writes meanwhile. */
export function applyStep(cells: Cells, step: Step): Refusal | null {
    for (const [key, value] of step.expect ?? [])
        if (!isSame(cells.get(entryCell(key)), value)) return {refused: "changed", key};

    const brought = new Map([...step.objects ?? []].reverse());
    const counted = new Map<string, Counted>();
    const missing = new Set<string>();
    const replaced = new Map(step.replace ?? []);
    for (const name of [...brought.keys(), ...replaced.keys()]) count(cells, counted, brought, name);
    for (const name of step.retain ?? []) {
        const object = count(cells, counted, brought, name);
        if (object === undefined) missing.add(name);
        else object.holders++;
    }
    if (missing.size > 0) return {refused: "missing", objects: [...missing]};
    for (const name of step.release ?? []) {
        const object = count(cells, counted, brought, name);
        if (object === undefined || object.gone) continue;
        object.holders = Math.max(object.holders - 1, 0);
        object.gone = object.holders === 0;
    }
    for (const name of step.sweep ?? []) {
        const object = count(cells, counted, brought, name);
        if (object?.holders === 0) object.gone = true;
    }

    const before = readTotal(cells);
    let total = before;
    for (const [key, value] of entriesAfter(step)) {
        total += (value?.length ?? 0) - (cells.get(entryCell(key))?.length ?? 0);
        if (value === undefined) cells.remove(entryCell(key));
        else cells.put(entryCell(key), value);
    }
    for (const [name, {stored, holders, gone}] of counted) {
        if (stored === null && !gone) {
            const value = brought.get(name)!;
            cells.put(objectCell(name), value);
            writeHolding(cells, name, {holders, bytes: value.length});
            total += value.length;
        } else if (stored !== null && gone) {
            cells.remove(objectCell(name));
            cells.remove(holdingCell(name));
            total -= stored.bytes;
        } else if (stored !== null) {
            const value = replaced.get(name), bytes = value?.length ?? stored.bytes;
            if (value !== undefined) cells.put(objectCell(name), value);
            if (value !== undefined || stored.holders !== holders) writeHolding(cells, name, {holders, bytes});
            total += bytes - stored.bytes;
        }
    }
    if (total !== before) writeTotal(cells, total);
    return null;
}

/** Undefined if the object is neither stored nor in the step. */
function count(cells: Cells, counted: Map<string, Counted>, brought: ReadonlyMap<string, Uint8Array>, name: string): Counted | undefined {
    const known = counted.get(name);
    if (known !== undefined) return known;
    const stored = readHolding(cells, name) ?? null;
    if (stored === null && !brought.has(name)) return undefined;
    const object = {stored, holders: stored?.holders ?? 0, gone: false};
    counted.set(name, object);
    return object;
}

function entriesAfter(step: Step): Map<string, Uint8Array | undefined> {
    const entries = new Map<string, Uint8Array | undefined>(step.put ?? []);
    for (const key of step.delete ?? []) entries.set(key, undefined);
    return entries;
}

function isSame(a: Uint8Array | undefined, b: Uint8Array | null): boolean {
    return a === undefined || b === null ? a === undefined && b === null : Buffer.compare(a, b) === 0;
}
