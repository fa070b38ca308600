import {inspect} from "node:util";
import t from "tap";
import {dist} from "../support/paths.js";
import {evicting, type Key, keys, someKeys, startServer, warningsOf} from "../support/redis-eviction.js";
import {between} from "../support/redis-proxy.js";
import {noRedis} from "../support/redis-server.js";
import {contentsOf, randomFrom} from "./store-oracle.js";
import {collected, failed} from "./store-places.js";
import type {SnapshotStore} from "../../dist/turns/stores/snapshot-store.js";

// Stores on servers that evict keys: what is gone is gone, but nobody is told otherwise. With turns: redis-evicted-turns.test.ts.
const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");
t.setTimeout(120_000);

const bytes = (text: string) => Buffer.from(text);
const holdersOf = async (store: SnapshotStore) =>
    Object.fromEntries((await collected(store.inventory())).map(({name, holders}) => [name, holders] as const).sort(([a], [b]) => a < b ? -1 : 1));

/** Two entries that share an object, and an object that nobody holds. */
async function fill(store: SnapshotStore): Promise<void> {
    const object = (name: string) => [name, bytes(`object ${name}`)] as const;
    for (const name of ["a", "b"])
        await store.step({expect: [[name, null]], put: [[name, bytes(`entry ${name}`)]], objects: ["shared", `of ${name}`, "free"].map(object), retain: ["shared", `of ${name}`]});
}

t.test("opening tells of a server that evicts, and of no other", {skip: noRedis}, async (t) => {
    const warnings = warningsOf(t);
    for (const [evicts, limit, policy] of [
        [true, "64mb", "allkeys-lru"], [true, "64mb", "allkeys-lfu"], [true, "64mb", "allkeys-random"], [false, "0", "allkeys-lru"],
        [false, "64mb", "noeviction"], [false, "64mb", "volatile-lru"], [false, "64mb", "volatile-ttl"]
    ] as const) {
        const {url} = await startServer(t, "--maxmemory", limit, "--maxmemory-policy", policy), what = `${policy}, ${limit}`;
        const store = await RedisStore.open({url});
        await store.step({put: [["a", bytes("1")]]});
        await store.step({put: [["a", bytes("2")]]});
        await store.close();
        const found = await warnings();
        t.equal(found.length, evicts ? 1 : 0, what);
        if (evicts) t.match(found[0], new RegExp(`maxmemory-policy ${policy}, maxmemory ${64 << 20}.*Set maxmemory-policy noeviction`));
        const strict = RedisStore.open({url, onEviction: "error"});
        if (evicts) await t.rejects(strict, {...failed, message: new RegExp(`maxmemory-policy ${policy}.*noeviction`)});
        else await (await strict).close();
        t.strictSame(await warnings(), []);
    }
    for (const onEviction of ["ignore", true, null, ["warn"]])
        await t.rejects(RedisStore.open({url: "redis://127.0.0.1:1", onEviction} as never), {code: "OPTION_INVALID", message: /^onEviction is .*"warn" and "error"|"warn" or "error"/}, inspect(onEviction));
});

t.test("a server that refuses INFO serves, and what is written to it is looked for", {skip: noRedis}, async (t) => {
    const warnings = warningsOf(t), server = await startServer(t, "--rename-command", "INFO", "");
    let losing = false;
    const store = await RedisStore.open({url: await between(t, server.url, {afterStep: async () => losing && await server.drop("objects")}), onEviction: "error"});
    t.teardown(() => store.close());
    await fill(store);
    t.equal((await contentsOf(store)).objects.length, 4);
    losing = true;
    await t.rejects(store.step({retain: ["shared"]}), {...failed, message: /evict/});
    t.strictSame(await warnings(), []);
});

for (const gone of someKeys) {
    const lost = (key: Key) => gone.includes(key), isCounted = lost("entries") || !lost("holdings");
    t.test(`without ${gone.join(", ")}`, {skip: noRedis}, async (t) => {
        const server = await startServer(t), store = await RedisStore.open({url: server.url}), other = await RedisStore.open({url: server.url});
        t.teardown(() => Promise.all([store.close(), other.close()]));
        await fill(store);
        const names = ["free", "of a", "of b", "shared"], left = lost("objects") ? [] : names;
        await server.drop(...gone);

        // What is asked first is answered as all else.
        const looks: [string, () => Promise<unknown>, unknown][] = [
            ["keys", () => collected(other.keys("")), lost("entries") ? [] : ["a", "b"]],
            ["stored", async () => [...await other.stored(names)], left],
            ["holders", () => holdersOf(other), Object.fromEntries(left.map((name) => [name, !isCounted ? Infinity : lost("entries") || name === "free" ? 0 : name === "shared" ? 2 : 1]))],
            ["bytes", () => other.bytes(), (lost("entries") ? 0 : 2 * "entry a".length) + left.reduce((sum, name) => sum + `object ${name}`.length, 0)]
        ];
        for (const [what, look, expected] of looks) {
            t.strictSame(await look(), expected, what);
            await server.drop(...gone);
        }

        // A step finds out as well, and says what is missing.
        t.strictSame(await store.step({retain: ["shared", "of a"]}), left.length > 0 ? null : {refused: "missing", objects: ["shared", "of a"]});
        await server.drop(...gone);
        const before = lost("entries") ? null : bytes("entry a");
        t.equal(await store.step({
            expect: [["a", before]], put: [["a", bytes("entry A")]], objects: ["shared", "of a", "new"].map((name) => [name, bytes(`object ${name}`)]), retain: ["shared", "of a", "new"]
        }), null);
        await contentsOf(store);
        t.strictSame([...await other.stored(["shared", "of a", "of b", "new"])], lost("objects") ? ["shared", "of a", "new"] : ["shared", "of a", "of b", "new"]);
        t.equal(await store.step({retain: ["shared"]}), null, "what somebody has brought again is there for others");

        // Others let go, and take nothing along that somebody needs.
        t.strictSame(await other.step({expect: [["b", bytes("entry b")]], delete: ["b"], release: ["shared", "of b"]}), lost("entries") ? {refused: "changed", key: "b"} : null);
        t.equal(await other.step({release: ["shared"]}), null);
        for (const [at, value] of (await store.objects(["shared", "of a", "new"])).entries())
            t.equal(value && Buffer.from(value).toString(), `object ${["shared", "of a", "new"][at]}`);
        await other.step({sweep: names});
        t.strictSame([...await store.stored(["shared", "of a", "new"])], ["shared", "of a", "new"]);

        // Counted anew, all is exact, and what nobody holds goes.
        let counts = 0;
        await store.recount(async () => {
            const entries = await Promise.all((await collected(store.keys(""))).map(async (key) => [key, (await store.get(key))!] as const));
            if (++counts < 3) await other.step({put: [[["c", "a"][counts - 1]!, bytes(`entry ${counts}`)]]});  // what was counted is not what is there
            return {entries, holders: new Map([["shared", counts === 3 ? 2 : 9], ["of a", 1], ["new", 1], ["of c", 1]])};
        });
        const isRight = isCounted && (lost("entries") || !lost("objects"));
        t.equal(counts, isRight ? 0 : 3, "what is right is not counted");
        if (!isRight) {
            await store.step({sweep: ["free", "of b"]});
            t.strictSame(await holdersOf(other), {"new": 1, "of a": 1, "shared": 2});
            t.equal(await store.step({objects: [["of c", bytes("object c")]], release: ["shared"]}), null);
            t.strictSame(await holdersOf(other), {"new": 1, "of a": 1, "of c": 1, "shared": 1}, "holders of what is missing are counted, too");
        }
        await contentsOf(other);
    });
}

t.test("whatever is dropped at whatever time, nothing goes that an entry holds, and in the end all is counted right", {skip: noRedis}, async (t) => {
    const server = await startServer(t), stores = await Promise.all([1, 2].map(() => RedisStore.open({url: server.url})));
    t.teardown(() => Promise.all(stores.map((store) => store.close())));
    const random = randomFrom(11), below = (end: number) => Math.floor(random() * end);
    const any = (names: string[]) => names.filter(() => below(2) === 0);
    const objects = Array.from({length: 12}, (_, at) => `object ${at}`), entries = ["a", "b", "c", "d"];
    /** What entries hold, as their values say. */
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

t.test("a store that a build before wrote is counted on, unless something was dropped", {skip: noRedis}, async (t) => {
    for (const gone of [null, "holdings", "objects", "names"] as const) {
        const server = await startServer(t), store = await RedisStore.open({url: server.url});
        t.teardown(() => store.close());
        await fill(store);
        const contents = await contentsOf(store);
        for (const key of ["entries", "objects", "holdings"]) await server.tellBytes("HDEL", `deltastore:${key}`, Buffer.of(0xff));
        if (gone !== null) await server.drop(gone);
        const holders = Object.values(await holdersOf(store));
        if (gone === "objects" || gone === "holdings") t.ok(holders.every((count) => count === Infinity), `${gone}: ${holders}`);
        else t.strictSame(await contentsOf(store), contents);
        t.strictSame(await collected(store.keys("")), ["a", "b"]);
    }
});

t.test("a full server's store is mended, too, and can be read and made smaller", {skip: noRedis}, async (t) => {
    const server = await startServer(t), store = await RedisStore.open({url: server.url});
    t.teardown(() => store.close());
    await fill(store);
    await server.tell("CONFIG", "SET", "maxmemory", "1000");
    for (const gone of [["names"], ["bytes"], ["holdings"], ["names", "holdings", "bytes"]] as const) {
        await server.drop(...gone);
        t.strictSame(await collected(store.keys("")), ["a", "b"], gone.join());
        await contentsOf(store);
    }
    t.equal(await store.step({expect: [["b", bytes("entry b")]], delete: ["b"], release: ["shared", "of b"]}), null);
    await t.rejects(store.step({objects: [["x", bytes("x")]]}), {...failed, message: /OOM/});
});

t.test("what a step has written is looked for where the server evicts, also if somebody mends it at once", {skip: noRedis}, async (t) => {
    const server = await startServer(t, ...evicting("64mb")), other = await RedisStore.open({url: server.url});
    let losing: (() => Promise<unknown>) | null = null;
    const store = await RedisStore.open({url: await between(t, server.url, {afterStep: async () => await losing?.()})});
    t.teardown(() => Promise.all([store.close(), other.close()]));
    await fill(store);
    const evicts = {...failed, message: /evicts keys, and has evicted what was just written; set maxmemory-policy noeviction/};
    for (const mend of [false, true]) {
        for (const [gone, step] of [
            ["objects", {objects: [["x", bytes("x")]], retain: ["x"]}], ["entries", {put: [["x", bytes("x")]]}],
            ["objects", {put: [["y", bytes("y")]], objects: [["x", bytes("x")]], retain: ["x"]}]
        ] as const) {
            losing = async () => {
                await server.drop(gone);
                if (mend) await other.step({objects: [["other", bytes("other")]]});
            };
            await t.rejects(store.step(step), evicts, `${gone}, ${mend}`);
            losing = null;
            t.equal(await store.step(step), null);
            await contentsOf(store);
        }
    }
    losing = () => server.drop("names", "bytes", "holdings");
    t.equal(await store.step({put: [["z", bytes("z")]], objects: [["x", bytes("x")]], retain: ["x"]}), null, "what follows from others, or is counted anew, is not missed");
    losing = null;
    t.ok((await collected(store.keys(""))).includes("z"));
});

t.test("a server is not made to evict: steps that bring more than it has room for are refused", {skip: noRedis}, async (t) => {
    for (const [limit, ...sizes] of [
        ["12mb", 2000], ["12mb", 100_000], ["12mb", 1_000_000], ["12mb", 3_000_000], ["12mb", 500, 20_000, 700_000], ["96mb", 8_000_000]
    ] as [string, ...number[]][]) {
        const server = await startServer(t, ...evicting(limit)), store = await RedisStore.open({url: server.url}), random = randomFrom(sizes.length);
        t.teardown(() => store.close());
        const full = {...failed, message: /is full and would evict .*allkeys-lru.*noeviction/}, saved: string[] = [];
        for (let at = 0;; at++) {
            const many = Math.max(1, Math.floor(200_000 / sizes[0]!)), objects = Array.from({length: many}, (_, index) =>
                [`${at} ${index}`, Buffer.alloc(Math.ceil(sizes[at % sizes.length]! * (0.5 + random())), at)] as const), names = objects.map(([name]) => name);
            const outcome = await store.step({objects, retain: names, put: [[`entry ${at}`, bytes(String(at))]]}).catch((error: unknown) => error);
            if (outcome !== null) {
                t.match(outcome, full);
                break;
            }
            saved.push(...names);
            if (at % 20 === 0) await store.objects(names);
        }
        t.equal((await store.stored(saved)).size, saved.length, `${saved.length} of ${sizes}`);
        t.ok(await store.bytes() > 3e6, `${await store.bytes()} bytes`);
        let isReading = true;
        const reading = store.objects(saved).finally(() => { isReading = false; });
        while (isReading) await server.tell("GET", "nothing");  // a server evicts before whatever it is told
        t.ok((await reading).every((value) => value !== undefined));
        t.equal(await store.step({release: saved.slice(1)}), null, "it can be made smaller");
        t.equal(await store.step({objects: [["again", Buffer.alloc(1000)]], retain: ["again"]}), null);
        t.strictSame((await contentsOf(store)).objects.map(([name]) => name), [saved[0], "again"]);
        await Promise.allSettled(Array.from({length: 12}, (_, at) => store.step({objects: [[`at once ${at}`, Buffer.alloc(1_000_000)]]})));
        t.equal(await server.evicted(), 0);
    }
});

t.test("a server that begins to evict is found out, whatever a step notices", {skip: noRedis}, async (t) => {
    const warnings = warningsOf(t);
    for (const way of ["torn", "mended", "missing"]) {
        const server = await startServer(t), store = await RedisStore.open({url: server.url}), other = await RedisStore.open({url: server.url});
        t.teardown(() => Promise.all([store.close(), other.close()]));
        await fill(store);
        await server.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "256mb");
        if (way === "torn") await server.drop("bytes");
        else if (way === "mended") {
            await server.drop("entries");
            await other.bytes();
        }
        await warnings();
        await store.step(way === "missing" ? {retain: ["nothing"]} : {put: [["c", bytes("entry c")]]});
        await store.step({put: [["d", bytes("entry d")]]});
        t.equal((await warnings()).length, 1, way);
    }
});

t.test("a server that begins to evict is found out when something is missing", {skip: noRedis}, async (t) => {
    const warnings = warningsOf(t), server = await startServer(t);
    const store = await RedisStore.open({url: server.url}), strict = await RedisStore.open({url: server.url, onEviction: "error"}), fresh = await RedisStore.open({url: server.url});
    const late = await RedisStore.open({url: server.url});
    t.teardown(() => Promise.all([store, strict, fresh, late].map((one) => one.close())));
    await fill(store);
    await late.step({retain: ["shared"]});
    await strict.step({retain: ["shared"]});
    await server.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "12mb");
    t.equal(await store.step({retain: ["shared"]}), null);
    t.strictSame(await warnings(), [], "nothing is missing yet");
    await server.fillUntilGone("objects");
    t.match(await fresh.step({retain: ["shared"]}), {refused: "missing", objects: ["shared"]});
    t.equal((await warnings()).length, 1);
    t.match(await store.step({retain: ["shared"]}), {refused: "missing", objects: ["shared"]});
    t.equal((await warnings()).length, 1);
    t.equal(await late.step({release: ["shared"]}), null, "nothing is missing, but somebody has begun anew");
    t.equal((await warnings()).length, 1);
    await t.rejects(strict.step({retain: ["shared"]}), {...failed, message: /allkeys-random/});
    for (let fills = 0; fills < 60; fills++) await server.tell("SET", `fill ${fills}`, "x".repeat(400_000));
    await t.rejects(store.step({objects: [["shared", Buffer.alloc(500_000)]], retain: ["shared"]}), {...failed, message: /is full and would evict/});

    await server.tell("CONFIG", "SET", "maxmemory", "0");
    t.equal(await store.step({objects: [["shared", Buffer.alloc(500_000)]], retain: ["shared"]}), null);
    await contentsOf(store);
    t.strictSame(await warnings(), []);
});
