import {writeSync} from "node:fs";
import {dist} from "../support/paths.js";
import type {SnapshotStore} from "../../dist/turns/stores/snapshot-store.js";

// A process that works on a store and prints what it did: `node store-process.js <job> <"lmdb" | "redis"> <place> <number>`.

const [job, kind, place, number] = process.argv.slice(2) as [keyof typeof jobs, "lmdb" | "redis", string, string];

async function open(): Promise<SnapshotStore> {
    if (kind === "redis")
        return await (await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js")).RedisStore.open({url: place});
    return await (await import(dist("turns/stores/lmdb.js")) as typeof import("../../dist/turns/stores/lmdb.js")).LmdbStore.open(place);
}

/** Adds one to "counter", and a holder to "shared"; again if another process came first. */
async function countOne(store: SnapshotStore): Promise<void> {
    let refused;
    do {
        const before = await store.get("counter");
        refused = await store.step({
            expect: [["counter", before ?? null]], put: [["counter", Buffer.from(String(Number(Buffer.from(before ?? []).toString()) + 1))]],
            objects: [["shared", Buffer.alloc(10_000, 7)]], retain: ["shared", "shared"], release: ["shared"]
        });
    } while (refused !== null);
}

const jobs = {
    /** Counts this many times. */
    async count(): Promise<void> {
        const store = await open();
        for (let done = 0; done < Number(number); done++) await countOne(store);
        await store.close();
    },
    /** Counts this many times, each time with a store that was just opened. */
    async visit(): Promise<void> {
        for (let done = 0; done < Number(number); done++) {
            const store = await open();
            await countOne(store);
            await store.close();
        }
    },
    /** Saves one turn after the other from this number on, and tells which are saved, until it is killed or the store fails. */
    async save(): Promise<void> {
        const store = await open();
        try {
            for (let turn = Number(number);; turn++) {
                const objects = ["a", "b", "c"].map((part) => [`${turn} ${part}`, Buffer.alloc(40_000, `${turn}${part}`)] as const);
                await store.step({
                    put: [[`turn ${turn}`, Buffer.from(String(turn))], ["last", Buffer.from(String(turn))]], objects,
                    retain: objects.map(([name]) => name),
                    ...turn % 3 === 2 ? {delete: [`turn ${turn - 1}`], release: ["a", "b", "c"].map((part) => `${turn - 1} ${part}`)} : {}
                });
                writeSync(1, `${turn}\n`);
            }
        } catch (error) {
            const last = await store.get("last"), {code, message} = error as Error & {code?: string};
            writeSync(1, `${code}: ${message}\nlast ${last === undefined ? "" : Buffer.from(last).toString()}\n`);
        }
    }
};

await jobs[job]();
