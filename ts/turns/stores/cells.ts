import type {Holding, SnapshotStore} from "./snapshot-store.js";

/** Named values, read and written synchronously. Stores without a server keep everything in them. */
export interface Cells {
    get(cell: string): Uint8Array | undefined;
    put(cell: string, value: Uint8Array): void;
    remove(cell: string): void;
    /** Cells whose names begin so, in order of their UTF-8 bytes: those behind `after`, or all. */
    range(prefix: string, after: string | undefined, limit: number): string[];
}

export type ObjectInfo = SnapshotStore extends {inventory(): AsyncIterable<infer T>} ? T : never;

const totalCell = "total";
export const entryCell = (key: string): string => `k${key}`;
export const objectCell = (name: string): string => `o${name}`;
export const holdingCell = (name: string): string => `h${name}`;

export function readHolding(cells: Cells, name: string): Holding | undefined {
    const cell = cells.get(holdingCell(name));
    if (cell === undefined) return undefined;
    const view = new DataView(cell.buffer, cell.byteOffset);
    return {holders: view.getUint32(0, true), bytes: view.getUint32(4, true)};
}

export function holdingsIn(cells: Cells, names: readonly string[]): Map<string, Holding> {
    return new Map(names.flatMap((name) => {
        const holding = readHolding(cells, name);
        return holding === undefined ? [] : [[name, holding] as const];
    }));
}

export function writeHolding(cells: Cells, name: string, {holders, bytes}: Holding): void {
    const cell = new Uint8Array(8), view = new DataView(cell.buffer);
    view.setUint32(0, holders, true);
    view.setUint32(4, bytes, true);
    cells.put(holdingCell(name), cell);
}

/** Bytes of all values. */
export function readTotal(cells: Cells): number {
    const cell = cells.get(totalCell);
    return cell === undefined ? 0 : new DataView(cell.buffer, cell.byteOffset).getFloat64(0, true);
}

export function writeTotal(cells: Cells, bytes: number): void {
    const cell = new Uint8Array(8);
    new DataView(cell.buffer).setFloat64(0, bytes, true);
    cells.put(totalCell, cell);
}

export function keysIn(cells: Cells, prefix: string, after: string | undefined, limit: number): string[] {
    return cells.range(entryCell(prefix), after === undefined ? undefined : entryCell(after), limit).map((cell) => cell.slice(1));
}

export function inventoryIn(cells: Cells, after: string | undefined, limit: number): ObjectInfo[] {
    return cells.range(holdingCell(""), after === undefined ? undefined : holdingCell(after), limit).map((cell) => {
        const name = cell.slice(1);
        return {name, ...readHolding(cells, name)!};
    });
}
