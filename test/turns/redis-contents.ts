import {collected} from "./store-places.js";
import type {SnapshotStore} from "../../dist/turns/stores/snapshot-store.js";

export const bytes = (text: string) => Buffer.from(text);
/** By object: how many hold it. */
export const holdersOf = async (store: SnapshotStore) =>
    Object.fromEntries((await collected(store.inventory())).map(({name, holders}) => [name, holders] as const).sort(([a], [b]) => a < b ? -1 : 1));

/** Two entries that share an object, and an object that nobody holds. */
export async function fill(store: SnapshotStore): Promise<void> {
    const object = (name: string) => [name, bytes(`object ${name}`)] as const;
    for (const name of ["a", "b"])
        await store.step({expect: [[name, null]], put: [[name, bytes(`entry ${name}`)]], objects: ["shared", `of ${name}`, "free"].map(object), retain: ["shared", `of ${name}`]});
}
