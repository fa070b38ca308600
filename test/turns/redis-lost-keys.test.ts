import t from "tap";
import {dist} from "../support/paths.js";
import {someKeys, startServer, type Key} from "../support/redis-eviction.js";
import {noRedis} from "../support/redis-server.js";
import {bytes, fill, holdersOf} from "./redis-contents.js";
import {contentsOf} from "./store-oracle.js";
import {collected, failed} from "./store-places.js";

const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");
t.setTimeout(120_000);

for (const gone of someKeys) {
    const lost = (key: Key) => gone.includes(key), isCounted = lost("entries") || !lost("holdings");
    t.test(`a server that has dropped ${gone.join(", ")} is noticed, and the store is mended`, {skip: noRedis}, async (t) => {
        const server = await startServer(t), store = await RedisStore.open({url: server.url}), other = await RedisStore.open({url: server.url});
        t.teardown(() => Promise.all([store.close(), other.close()]));
        await fill(store);
        const names = ["free", "of a", "of b", "shared"], left = lost("objects") ? [] : names;
        await server.drop(...gone);

        // Whatever is asked first notices the loss and answers right.
        const looks: [string, () => Promise<unknown>, unknown][] = [
            ["keys", () => collected(other.keys("")), lost("entries") ? [] : ["a", "b"]],
            ["stored", async () => [...(await other.stored(names)).keys()], left],
            ["holders", () => holdersOf(other), Object.fromEntries(left.map((name) => [name, !isCounted ? Infinity : lost("entries") || name === "free" ? 0 : name === "shared" ? 2 : 1]))],
            ["bytes", () => other.bytes(), (lost("entries") ? 0 : 2 * "entry a".length) + left.reduce((sum, name) => sum + `object ${name}`.length, 0)]
        ];
        for (const [what, look, expected] of looks) {
            t.strictSame(await look(), expected, what);
            await server.drop(...gone);
        }

        // A step notices it, too, and says what is missing.
        t.strictSame(await store.step({retain: ["shared", "of a"]}), left.length > 0 ? null : {refused: "missing", objects: ["shared", "of a"]});
        await server.drop(...gone);
        const before = lost("entries") ? null : bytes("entry a");
        t.equal(await store.step({
            expect: [["a", before]], put: [["a", bytes("entry A")]], objects: ["shared", "of a", "new"].map((name) => [name, bytes(`object ${name}`)]), retain: ["shared", "of a", "new"]
        }), null);
        await contentsOf(store);
        t.strictSame([...(await other.stored(["shared", "of a", "of b", "new"])).keys()], lost("objects") ? ["shared", "of a", "new"] : ["shared", "of a", "of b", "new"]);
        t.equal(await store.step({retain: ["shared"]}), null, "what somebody has brought again is there for others");

        // Another client releases, and takes nothing along that is needed.
        t.strictSame(await other.step({expect: [["b", bytes("entry b")]], delete: ["b"], release: ["shared", "of b"]}), lost("entries") ? {refused: "changed", key: "b"} : null);
        t.equal(await other.step({release: ["shared"]}), null);
        for (const [at, value] of (await store.objects(["shared", "of a", "new"])).entries())
            t.equal(value && Buffer.from(value).toString(), `object ${["shared", "of a", "new"][at]}`);
        await other.step({sweep: names});
        t.strictSame([...(await store.stored(["shared", "of a", "new"])).keys()], ["shared", "of a", "new"]);

        // A recount is exact, and then what nobody holds can be swept.
        let counts = 0;
        await store.recount(async () => {
            const entries = await Promise.all((await collected(store.keys(""))).map(async (key) => [key, (await store.get(key))!] as const));
            if (++counts < 3) await other.step({put: [[["c", "a"][counts - 1]!, bytes(`entry ${counts}`)]]});  // so that the count is out of date
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

t.test("a store of an earlier build is counted right, unless something was dropped", {skip: noRedis}, async (t) => {
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

t.test("a full server's store is mended, and can be read and made smaller", {skip: noRedis}, async (t) => {
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
