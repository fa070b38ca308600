import {spawn} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {createInterface} from "node:readline";
import {RedisStore} from "llama-deltastore";
import t from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {root} from "../support/paths.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(120_000);

t.test("three processes, a prefix and a Redis: the prefix is stored once, and each goes on with the others' conversations", {skip: noRedis}, async (t) => {
    const redis = await startRedis(), modelPath = await tinyPath();
    t.teardown(() => redis.stop());
    const names = ["anna", "ben", "cleo"], prefix = randomTokens(600, 1), next = moreTokens(20, 9);
    const processes = names.map((name, index) => {
        const given = {modelPath, url: redis.url, name, names, prefix, own: moreTokens(150, 2 + index), next};
        const child = spawn(process.execPath, [join(root, "test/fixtures/turns-in-redis.mjs"), JSON.stringify(given)], {stdio: ["pipe", "pipe", "inherit"]});
        const lines = createInterface(child.stdout)[Symbol.asyncIterator](), ended = once(child, "exit");
        return {name, ended, go: () => child.stdin.write("go\n"), line: async () => JSON.parse((await lines.next()).value as string)};
    });
    const saved = new Map<string, {after: string}>();
    for (const {name, line} of processes) saved.set(name, await line());

    const store = await RedisStore.open({url: redis.url});
    const holders: number[] = [];
    for await (const object of store.inventory()) holders.push(object.holders);
    t.ok(holders.filter((count) => count === names.length).length >= (600 - 64 - 4) / 64, `objects of all three: ${holders}`);
    await store.close();

    for (const {go} of processes) go();
    for (const {name: reader, line, ended} of processes) {
        const found = await line();
        for (const name of names)
            t.strictSame(found[name], {evaluated: 0, damaged: 0, after: saved.get(name)!.after}, `${reader} goes on with ${name}'s conversation`);
        t.equal((await ended)[0], 0);
    }
});
