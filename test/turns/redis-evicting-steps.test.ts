import t from "tap";
import {dist} from "../support/paths.js";
import {evicting, startServer} from "../support/redis-eviction.js";
import {between} from "../support/redis-proxy.js";
import {noRedis} from "../support/redis-server.js";
import {bytes, fill} from "./redis-contents.js";
import {contentsOf, randomFrom} from "./store-oracle.js";
import {collected, failed} from "./store-places.js";

const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");
t.setTimeout(120_000);

t.test("on a server that evicts, a step whose write is lost is refused, also if another client mends it at once", {skip: noRedis}, async (t) => {
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

t.test("a step that brings more than the server has room for is refused, and makes it evict nothing", {skip: noRedis}, async (t) => {
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
        while (isReading) await server.tell("GET", "nothing");  // a server evicts before each command
        t.ok((await reading).every((value) => value !== undefined));
        t.equal(await store.step({release: saved.slice(1)}), null, "it can be made smaller");
        t.equal(await store.step({objects: [["again", Buffer.alloc(1000)]], retain: ["again"]}), null);
        t.strictSame((await contentsOf(store)).objects.map(([name]) => name), [saved[0], "again"]);
        await Promise.allSettled(Array.from({length: 12}, (_, at) => store.step({objects: [[`at once ${at}`, Buffer.alloc(1_000_000)]]})));
        t.equal(await server.evicted(), 0);
    }
});
