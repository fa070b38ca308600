import {deepStrictEqual} from "node:assert";
import t, {type Test} from "tap";
import {dist} from "../support/paths.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {contentsOf, Oracle, RandomSteps, text} from "./store-oracle.js";
import {collected, ended, processOf, temporaryFolder} from "./store-places.js";
import type {SnapshotStore} from "../../dist/turns/stores/snapshot-store.js";

const {MemoryStore} = await import(dist("turns/stores/memory.js")) as typeof import("../../dist/turns/stores/memory.js");
const {LmdbStore} = await import(dist("turns/stores/lmdb.js")) as typeof import("../../dist/turns/stores/lmdb.js");
const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");

// What every store must do. How each takes a failing medium is tested in lmdb-store and redis-store.
t.setTimeout(180_000);

/** A place for stores, which ends with the test. `open` gives a further store on it. */
interface Place {
    readonly where: string;
    open(): Promise<SnapshotStore>;
}

const kinds: Record<string, {skip?: string | false; place(t: Test): Promise<Place>}> = {
    memory: {
        place: async () => {
            const store = new MemoryStore();
            return {where: "memory", open: async () => store};
        }
    },
    lmdb: {
        place: async (t) => {
            const where = temporaryFolder(t);
            return {where, open: () => LmdbStore.open(where)};
        }
    },
    redis: {
        skip: noRedis,
        place: async (t) => {
            const {url, stop} = await startRedis();
            t.teardown(stop);
            return {where: url, open: () => RedisStore.open({url})};
        }
    }
};

for (const [kind, {skip = false, place}] of Object.entries(kinds)) {
    t.test(`${kind}: random steps do what the oracle says, for two stores on one place`, {skip}, async (t) => {
        const {open} = await place(t), store = await open(), other = await open();
        t.teardown(() => Promise.all([store.close(), other.close()]));
        const oracle = new Oracle(), steps = new RandomSteps(7);
        const outcomes = {null: 0, changed: 0, missing: 0};
        for (let done = 0; done < 2000; done++) {
            const step = steps.next(oracle), expected = oracle.step(step);
            deepStrictEqual(await (done % 2 === 0 ? store : other).step(step), expected);
            outcomes[expected?.refused ?? "null"]++;
            if (expected === null) deepStrictEqual(await store.bytes(), oracle.contents().bytes);
            if (expected !== null || done % 20 === 0) deepStrictEqual(await contentsOf(done % 3 === 0 ? store : other), oracle.contents());
        }
        t.ok(Object.values(outcomes).every((count) => count > 100), `all outcomes come: ${JSON.stringify(outcomes)}`);
        for (const opened of [store, other]) t.strictSame(await contentsOf(opened), oracle.contents(), "both stores see all");
    });

    t.test(`${kind}: names, values and counts come back as they were given, small, large and many`, {skip}, async (t) => {
        const {open} = await place(t), store = await open();
        t.teardown(() => store.close());
        const names = ["", "a", "a\0b", "ab", "b/\u00e4", "\uFFFF", "\u{1F600}", "\u{1F600}".repeat(494) + "a"];
        t.equal(await store.step({
            put: names.map((name) => [name, Buffer.from(name)]), objects: names.map((name) => [name, Buffer.from(`o${name}`)])
        }), null);
        t.strictSame(await collected(store.keys("")), names, "keys come in the order of their UTF-8 bytes");
        t.strictSame(await collected(store.keys("a")), ["a", "a\0b", "ab"]);
        t.strictSame((await store.objects(["b/\u00e4", "none", ""])).map((value) => value && Buffer.from(value).toString()),
            ["ob/\u00e4", undefined, "o"]);
        t.strictSame(await store.stored(["a", "none"]), new Map([["a", {bytes: 2, holders: 0}]]));
        t.equal(await store.get("none"), undefined);
        t.ok((await collected(store.inventory())).every(({holders}) => holders === 0), "what nobody retained has no holder");
        t.equal(await store.step({delete: names, release: names}), null);
        t.strictSame(await contentsOf(store), {entries: [], objects: [], bytes: 0});

        for (const name of ["x".repeat(1978), "\u{1F600}".repeat(495), "half \ud83d"]) {
            const before = await contentsOf(store), wrong = {code: "OPTION_INVALID"};
            await t.rejects(store.get(name), wrong);
            await t.rejects(store.stored([name]), wrong);
            await t.rejects(store.step({put: [["good", Buffer.from("x")]], retain: [name]}), wrong);
            await t.rejects(store.step({put: [["good", Buffer.from("x")], [name, Buffer.from("x")]]}), wrong);
            t.strictSame(await contentsOf(store), before);
        }

        const large = [0, 1, 70_000, 5_000_000, 20_000_000].map((length) => Buffer.alloc(length, "0123456789\xff", "latin1").subarray());
        const named = large.map((value, at) => [`large ${at}`, value] as const);
        t.equal(await store.step({put: named, objects: named, retain: named.map(([name]) => name)}), null);
        t.equal(await store.step({expect: named}), null);
        for (const [at, value] of (await store.objects(named.map(([name]) => name))).entries())
            t.ok(large[at]!.equals(value!), `${large[at]!.length} bytes`);
        for (const [name, value] of named) t.ok(value.equals((await store.get(name))!));
        t.equal(await store.bytes(), 2 * large.reduce((sum, {length}) => sum + length, 0));
        t.equal(await store.step({delete: named.map(([name]) => name), release: named.map(([name]) => name)}), null);

        const many = Array.from({length: 20_000}, (_, at) => `many ${String(at).padStart(5, "0")}`);
        const value = Buffer.from("v");
        t.equal(await store.step({
            put: many.slice(0, 2500).map((name) => [name, value]), objects: many.map((name) => [name, value]), retain: many
        }), null);
        t.strictSame(await collected(store.keys("many 0")), many.slice(0, 2500));
        t.strictSame((await collected(store.inventory())).map(({name}) => name).sort(), many);
        t.equal((await store.stored(many)).size, 20_000);
        t.equal(await store.bytes(), 22_500);
        t.match(await store.step({retain: many.map((name) => `${name}?`)}), {refused: "missing", objects: many.map((name) => `${name}?`)});
        t.equal(await store.step({release: many}), null);
        t.equal(await store.bytes(), 2500);
    });

    t.test(`${kind}: a closed store finishes its steps and refuses further calls`, {skip}, async (t) => {
        const store = await (await place(t)).open();
        await store.step({put: [["a", Buffer.from("1")]]});
        const late = store.step({put: [["a", Buffer.from("2")]]});
        await Promise.all([store.close(), store.close()]);
        t.equal(await late, null, "close waits");
        await store.close();
        const calls: (() => Promise<unknown>)[] = [
            () => store.get("a"), () => store.objects([]), () => store.stored([]), () => store.step({}), () => store.bytes(),
            () => collected(store.keys("")), () => collected(store.inventory())
        ];
        for (const call of calls) await t.rejects(call(), {name: "DeltaStoreError", code: "DISPOSED"});
    });

    if (kind === "memory") continue;
    t.test(`${kind}: steps of competing processes are all counted`, {skip}, async (t) => {
        const {where, open} = await place(t);
        await (await open()).close();
        const processes = [["count", 150], ["count", 150], ["visit", 25], ["visit", 25]] as const;
        await Promise.all(processes.map(([job, times]) => ended(processOf(job, kind, where, times))));
        const store = await open();
        t.teardown(() => store.close());
        t.equal(text(await store.get("counter")), "350");
        t.strictSame(await collected(store.inventory()), [{name: "shared", holders: 350, bytes: 10_000}]);
    });
}
