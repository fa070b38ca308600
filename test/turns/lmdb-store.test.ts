import {deepStrictEqual} from "node:assert";
import {execFileSync} from "node:child_process";
import {chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, unlinkSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {setTimeout} from "node:timers/promises";
import t from "tap";
import {dist} from "../support/paths.js";
import {contentsOf, Oracle, RandomSteps} from "./store-oracle.js";
import {failed, outputOf, processOf, temporaryFolder} from "./store-places.js";

const {LmdbStore} = await import(dist("turns/stores/lmdb.js")) as typeof import("../../dist/turns/stores/lmdb.js");

t.setTimeout(180_000);

t.test("lmdb: what a killed process was told is saved is there", async (t) => {
    const where = temporaryFolder(t);
    let next = 0, acknowledged = 0;
    for (let round = 0; round < 30; round++) {
        const child = processOf("save", "lmdb", where, next), output = outputOf(child);
        await Promise.race([new Promise((resolve) => child.stdout!.once("data", resolve)), output]);
        await setTimeout(Math.random() * 60);
        child.kill("SIGKILL");
        const told = (await output).split("\n").filter((line) => /^\d+$/.test(line)).map(Number);
        acknowledged += told.length;
        const store = await LmdbStore.open(where);
        const {entries, objects} = await contentsOf(store);
        await store.close();
        const saved = Number(new Map(entries).get("last"));
        deepStrictEqual([saved === told.at(-1) || saved === told.at(-1)! + 1, told], [true, told.map((_, at) => next + at)]);
        const turns = Array.from({length: saved + 1}, (_, turn) => turn).filter((turn) => turn % 3 !== 1 || turn === saved);
        deepStrictEqual(entries.filter(([key]) => key !== "last").map(([, turn]) => Number(turn)).sort((a, b) => a - b), turns);
        const held = turns.flatMap((turn) => ["a", "b", "c"].map((part) => `${turn} ${part} 1`));
        deepStrictEqual(objects.map(([name, , holders]) => `${name} ${holders}`).sort(), held.sort());
        next = saved + 1;
    }
    t.ok(acknowledged > 30, `${acknowledged} steps were acknowledged`);
});

t.test("lmdb: a full disk refuses the step, and what was acknowledged stays", async (t) => {
    const where = temporaryFolder(t);
    const output = await outputOf(processOf("save", "lmdb", where, 0, "ulimit -f 4000"));
    t.match(output, /\nSTORE_FAILED: The store in .* failed: .*\nlast \d+\n$/);
    const last = Number(/\nlast (\d+)\n$/.exec(output)![1]);
    t.ok(last > 10 && output.includes(`\n${last}\nSTORE_FAILED`), "what was acknowledged is read after the failure");
    const store = await LmdbStore.open(where);
    t.teardown(() => store.close());
    t.equal(Number(new Map((await contentsOf(store)).entries).get("last")), last);
    t.equal(await store.step({put: [["last", Buffer.from("more")]]}), null);

    for (const blocks of [1, 8, 9, 12]) {
        const child = processOf("save", "lmdb", temporaryFolder(t), 0, `exec 2>&1; ulimit -f ${blocks}`);
        t.match(await outputOf(child), /STORE_FAILED/, `with ${blocks} KiB`);
        t.equal(child.signalCode, null);
    }
});

t.test("lmdb: a damaged file is an error, and never ends the process", async (t) => {
    const where = temporaryFolder(t), good = join(where, "good"), bad = join(where, "bad");
    const store = await LmdbStore.open(good);
    for (let at = 0; at < 60; at++) await store.step({
        put: [[`key ${at}`, Buffer.from("x")]], objects: [[`object ${at}`, Buffer.alloc(5000 + 1000 * at, at)]],
        retain: [`object ${at}`], release: [`object ${at - 9}`]
    });
    const contents = await contentsOf(store);
    await store.close();
    const data = readFileSync(join(good, "data.mdb"));
    /** What opening the file gives: its contents, or STORE_FAILED. */
    const opened = async (bytes: Buffer | string) => {
        rmSync(bad, {recursive: true, force: true});
        mkdirSync(bad);
        writeFileSync(join(bad, "data.mdb"), bytes);
        let store;
        try {
            store = await LmdbStore.open(bad);
            return await contentsOf(store);
        } catch (error) {
            return error;
        } finally {
            await store?.close();
        }
    };
    t.strictSame(await opened(data), contents, "a copy is as good");
    t.strictSame(await opened(""), {entries: [], objects: [], bytes: 0}, "an empty file is a new store");
    const cuts = [100, 4096, 8192, data.length / 3, data.length / 2].map((bytes) => data.subarray(0, bytes));
    for (const bytes of ["x", "SQLite format 3\0".padEnd(8192), Buffer.alloc(100_000), ...cuts])
        t.match(await opened(bytes), {...failed, message: `The store in ${bad} failed: its file data.mdb is damaged or another program's: `});
    for (let cut = 4096; cut < data.length; cut += data.length / 12) {
        const result = await opened(data.subarray(0, data.length - cut));
        if (!(result instanceof Error)) deepStrictEqual(result, contents);
        else deepStrictEqual((result as Error & {code?: string}).code, "STORE_FAILED");
    }
    let refused = 0;
    const steps = new RandomSteps(3);
    for (let page = 0; page < 40; page++) {
        const changed = Buffer.from(data), garbage = Buffer.from(JSON.stringify(steps.next(new Oracle())).repeat(30)).subarray(0, 4096);
        garbage.copy(changed, page * 4096);
        if (await opened(changed) instanceof Error) refused++;
    }
    t.ok(refused > 0, `${refused} of 40 changed pages are found, and none ends the process`);
});

t.test("lmdb: another program's store and a later version's are refused", async (t) => {
    const {open} = await import("lmdb");
    const where = temporaryFolder(t);
    for (const [key, message] of [["else", /another program's/], ["version", /another version of this package/]] as const) {
        const folder = join(where, key);
        const database = open({path: folder, encoding: "binary", keyEncoding: "binary", overlappingSync: false});
        await database.put(Buffer.from(key), Buffer.from("deltastore 2"));
        await database.close();
        await t.rejects(LmdbStore.open(folder), {...failed, message});
    }
});

t.test("lmdb: a file that is deleted, replaced or cut while it is open is an error", async (t) => {
    for (const [spoil, message] of [[unlinkSync, /deleted or replaced/], [(file: string) => truncateSync(file, 8192), /was cut/],
        [(file: string) => { copyFileSync(file, `${file}2`); unlinkSync(file); copyFileSync(`${file}2`, file); }, /deleted or replaced/]] as const) {
        const where = temporaryFolder(t), store = await LmdbStore.open(where);
        await store.step({objects: [["a", Buffer.alloc(100_000)]]});
        spoil(join(where, "data.mdb"));
        await t.rejects(store.objects(["a"]), {...failed, message});
        await t.rejects(store.step({put: [["b", Buffer.alloc(3)]]}), {...failed, message});
        await store.close();
        rmSync(join(where, "data.mdb"), {force: true});
        const again = await LmdbStore.open(where);
        t.equal(await again.step({put: [["b", Buffer.alloc(3)]]}), null, "a new store can be opened there");
        await again.close();
    }
});

t.test("lmdb: only the owner reads the files", async (t) => {
    const umask = process.umask(0);
    t.teardown(() => process.umask(umask));
    const modeOf = (path: string) => statSync(path).mode & 0o777;
    const where = temporaryFolder(t), made = join(where, "new.folder", "deep"), wide = join(where, "wide");
    mkdirSync(wide);
    chmodSync(wide, 0o755);
    for (const [folder, mode] of [[made, 0o700], [wide, 0o755], [wide, 0o755]] as const) {
        const store = await LmdbStore.open(folder);
        await store.step({put: [["a", Buffer.from("1")]]});
        t.equal(modeOf(folder), mode);
        for (const file of ["data.mdb", "lock.mdb"]) t.equal(modeOf(join(folder, file)), 0o600, file);
        await store.close();
        chmodSync(join(folder, "data.mdb"), 0o666);
    }
    await t.rejects(LmdbStore.open(join(wide, "data.mdb")), {...failed, message: /data\.mdb/});
    await t.rejects(LmdbStore.open(join(wide, "data.mdb", "folder")), {...failed, message: /data\.mdb.* can't be made: /});
    await t.rejects(LmdbStore.open("/proc/none/folder"), {...failed, message: /\/proc\/none.* can't be made: /}, "a folder that takes none");
});

t.test("lmdb: a folder that can't be written to is an error with its cause", async (t) => {
    for (const path of ["", undefined, 5]) await t.rejects(LmdbStore.open(path as string), {code: "OPTION_INVALID"}, `${path}`);
    const where = temporaryFolder(t), nobody = 65534;
    chmodSync(where, 0o555);
    const script = `import {LmdbStore} from ${JSON.stringify(dist("turns/stores/lmdb.js"))};
        await LmdbStore.open(${JSON.stringify(where)}).catch(({code, message}) => console.log(code, message));`;
    const user = process.getuid?.() === 0 ? {uid: nobody, gid: nobody} : {};
    t.match(execFileSync(process.execPath, ["--input-type=module", "-e", script], {...user, cwd: "/", timeout: 10_000}).toString(),
        /^STORE_FAILED The store in .* failed: .*permission denied/i);
});

t.test("lmdb: an open store keeps no process alive", async (t) => {
    const script = `import {LmdbStore} from ${JSON.stringify(dist("turns/stores/lmdb.js"))};
        const store = await LmdbStore.open(${JSON.stringify(temporaryFolder(t))});
        await store.step({put: [["a", Buffer.from("1")]]});
        console.log("done");`;
    t.equal(execFileSync(process.execPath, ["--input-type=module", "-e", script], {timeout: 10_000}).toString(), "done\n");
});
