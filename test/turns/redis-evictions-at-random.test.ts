import {inspect} from "node:util";
import t from "tap";
import {dist} from "../support/paths.js";
import {keys, startServer, type Key} from "../support/redis-eviction.js";
import {noRedis} from "../support/redis-server.js";
import {bytes} from "./redis-contents.js";
import {contentsOf, randomFrom} from "./store-oracle.js";
import {collected} from "./store-places.js";
import type {SnapshotStore} from "../../dist/turns/stores/snapshot-store.js";

const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");
t.setTimeout(120_000);

t.test("whatever the server drops, nothing goes that an entry holds, and in the end all is counted right", {skip: noRedis}, async (t) => {
    const server = await startServer(t), stores = await Promise.all([1, 2].map(() => RedisStore.open({url: server.url})));
    t.teardown(() => Promise.all(stores.map((store) => store.close())));
    const random = randomFrom(11), below = (end: number) => Math.floor(random() * end);
    const any = (names: string[]) => names.filter(() => below(2) === 0);
    const objects = Array.from({length: 12}, (_, at) => `object ${at}`), entries = ["a", "b", "c", "d"];
    /** By entry: the objects that its value names. */
    let held = new Map<string, string[]>(), there = new Set<string>();
    const all = () => [...held.values()].flat(), value = (names: string[]) => bytes(JSON.stringify(names));
    const isThere = async (store: SnapshotStore) => {
        const needed = objects.filter((name) => there.has(name) && all().includes(name)), stored = await store.stored(needed);
        return needed.every((name) => stored.has(name));
    };
    const holdersNow = () => {
        const holders = new Map<string, number>();
        for (const name of all()) holders.set(name, (holders.get(name) ?? 0) + 1);
        return holders;
    };
    const count = async () => ({entries: [...held].map(([key, names]) => [key, value(names)] as const), holders: holdersNow()});
    const done = {save: 0, missing: 0, delete: 0, sweep: 0, drop: 0, recount: 0};
    for (let round = 0; round < 3000; round++) {
        const store = stores[round % 2]!, key = entries[below(entries.length)]!, before = held.get(key);
        switch ((["save", "save", "save", "delete", "sweep", "drop", "recount"] as const)[below(round % 100 < 50 ? 5 : 7)]!) {
            case "save": {
                const names = any(objects), isBrought = below(2) === 0, brought = isBrought ? names : any(names);
                const refusal = await store.step({
                    expect: [[key, before === undefined ? null : value(before)]], put: [[key, value(names)]], objects: brought.map((name) => [name, bytes(`bytes of ${name}`)]),
                    retain: names, release: before ?? []
                });
                if (refusal === null) {
                    done.save++;
                    for (const name of brought) there.add(name);
                    held.set(key, names);
                } else if (refusal.refused !== "missing" || refusal.objects.some((name) => brought.includes(name))) t.fail(inspect(refusal));
                else done.missing++;
                break;
            }
            case "delete":
                if (before === undefined) break;
                done.delete++;
                held.delete(key);
                if (await store.step({expect: [[key, value(before)]], delete: [key], release: before}) !== null) t.fail("an entry is gone");
                break;
            case "sweep":
                done.sweep++;
                await store.step({sweep: (await collected(store.inventory())).filter(({holders}) => holders === 0).map(({name}) => name)});
                break;
            case "drop": {
                const gone = any([...keys]) as Key[];
                if (gone.length === 0) break;
                done.drop++;
                await server.drop(...gone);
                if (gone.includes("entries")) held = new Map();
                if (gone.includes("objects")) there = new Set();
                break;
            }
            case "recount":
                done.recount++;
                await store.recount(count);
        }
        if (!await isThere(stores[(round + 1) % 2]!)) throw new Error(`something that is held has gone, round ${round}`);
        if (round % 10 === 0) await contentsOf(store);
    }
    t.ok(Object.values(done).every((times) => times > 50), inspect(done));
    await stores[0]!.recount(count);
    await stores[0]!.step({sweep: objects});
    const {entries: found, objects: stored} = await contentsOf(stores[1]!);
    t.strictSame(found, [...held].map(([key, names]) => [key, value(names).toString()]).sort());
    const expected = [...holdersNow()].filter(([name]) => there.has(name));
    t.strictSame(stored.map(([name, , holders]) => [name, holders]), expected.sort(([a], [b]) => a < b ? -1 : 1));
});
