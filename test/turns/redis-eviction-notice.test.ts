import {inspect} from "node:util";
import t from "tap";
import {dist} from "../support/paths.js";
import {startServer, warningsOf} from "../support/redis-eviction.js";
import {between} from "../support/redis-proxy.js";
import {noRedis} from "../support/redis-server.js";
import {bytes, fill} from "./redis-contents.js";
import {contentsOf} from "./store-oracle.js";
import {failed} from "./store-places.js";

const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");
t.setTimeout(120_000);

t.test("opening a store warns of a server that evicts, and of no other", {skip: noRedis}, async (t) => {
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

t.test("a server that refuses INFO is served, and each step looks for what it wrote", {skip: noRedis}, async (t) => {
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

t.test("a server that begins to evict is warned of, whatever a step notices first", {skip: noRedis}, async (t) => {
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

t.test("a server that begins to evict is warned of when something is missing", {skip: noRedis}, async (t) => {
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
