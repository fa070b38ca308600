import {cpSync} from "node:fs";
import {join, resolve} from "node:path";
import {setTimeout} from "node:timers/promises";
import {pathToFileURL} from "node:url";
import {inspect} from "node:util";
import t from "tap";
import {dist, root} from "../support/paths.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {contentsOf, text} from "./store-oracle.js";
import {failed, temporaryFolder} from "./store-places.js";

const {RedisStore} = await import(dist("turns/stores/redis.js")) as typeof import("../../dist/turns/stores/redis.js");

t.test("redis: calls fail while the server is gone, and succeed when it is back", {skip: noRedis}, async (t) => {
    const server = await startRedis();
    t.teardown(server.stop);
    const store = await RedisStore.open({url: server.url, prefix: "some{thing}"});
    t.teardown(() => store.close());
    const step = {put: [["a", Buffer.from("1")]], objects: [["big", Buffer.alloc(1_000_000)]], retain: ["big"]} as const;
    t.equal(await store.step(step), null);
    server.signal("SIGSTOP");
    const pending = [store.step(step), store.get("a")].map((call) => call.then(() => null, (error: unknown) => error));
    await setTimeout(100);
    const began = performance.now();
    await server.kill();
    t.match(await Promise.all(pending), [failed, {...failed, message: /^The store at redis:.*some\{thing\}\*\) failed: /}]);
    await t.rejects(store.bytes(), failed);
    t.ok(performance.now() - began < 5000);
    await server.restart();
    t.equal(await store.step(step), null, "also the script is there again");
    t.equal(text(await store.get("a")), "1");

    for (const options of [undefined, "redis://x", {}, {url: 5}, {url: server.url, prefix: 5}, {url: server.url, prefx: "x"}, {url: "http://x"}])
        await t.rejects(RedisStore.open(options as {url: string}), {code: "OPTION_INVALID"}, inspect(options));
    await t.rejects(RedisStore.open({url: "redis://user:secret@127.0.0.1:1"}), {...failed, message: /^(?!.*secret).*ECONNREFUSED/});
});

t.test("redis: a step that meets the memory limit changes nothing", {skip: noRedis}, async (t) => {
    const server = await startRedis("--maxmemory", "8mb");
    t.teardown(server.stop);
    const store = await RedisStore.open({url: server.url});
    t.teardown(() => store.close());
    const full = async () => {
        for (let at = 0;; at++)
            await store.step({objects: [[`object ${at}`, Buffer.alloc(500_000)]], retain: [`object ${at}`], put: [["last", Buffer.from(String(at))]]});
    };
    await t.rejects(full(), {...failed, message: /OOM/});
    const {objects, entries} = await contentsOf(store);
    t.equal(Number(entries[0]![1]), objects.length - 1);

    // A full store can be opened and made smaller.
    const again = await RedisStore.open({url: server.url}), name = `object ${objects.length - 1}`;
    t.teardown(() => again.close());
    t.equal((await again.objects([name]))[0]!.length, 500_000);
    t.equal(await again.step({release: [name]}), null);
    t.equal((await contentsOf(again)).objects.length, objects.length - 1);
});

t.test("redis: without the package @redis/client the error says what to install", async (t) => {
    const folder = temporaryFolder(t);
    for (const part of ["package.json", "dist"]) cpSync(resolve(root, part), join(folder, part), {recursive: true});
    const {RedisStore} = await import(pathToFileURL(join(folder, "dist/turns/stores/redis.js")).href) as
        typeof import("../../dist/turns/stores/redis.js");
    await t.rejects(RedisStore.open({url: "redis://127.0.0.1:1"}), {...failed, message: /npm install @redis\/client/});
});
