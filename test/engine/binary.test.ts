import {spawn, spawnSync} from "node:child_process";
import {once} from "node:events";
import {cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync} from "node:fs";
import {cp} from "node:fs/promises";
import {dirname, join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {pathToFileURL} from "node:url";
import {Worker} from "node:worker_threads";
import t, {type Test} from "tap";
import {codeOf} from "../support/engine.js";
import {installed, releaseOf} from "../support/other-runtime.js";
import {dist, root} from "../support/paths.js";

t.setTimeout(180_000);

const release = await releaseOf(installed);
const {buildOnce} = await import(dist("engine/build-once.js")) as typeof import("../../dist/engine/build-once.js");
const fixture = join(root, "test/fixtures/build-once.mjs");

function places(t: Test) {
    const folder = t.testdir();
    const [target, log] = [join(folder, "build", "engine"), join(folder, "log")];
    return {
        target, log,
        args: (milliseconds: number) => [dist("engine/build-once.js"), target, log, String(milliseconds)],
        builds: () => readFileSync(log, "utf8").split("\n").length - 1
    };
}

const startProcess = (args: string[]) => spawn(process.execPath, [fixture, ...args], {stdio: "inherit"});

t.test("of several processes and worker threads one builds, and nobody sees a part", async (t) => {
    const {target, args, builds} = places(t);
    const processes = [1, 2, 3].map(() => startProcess(args(500)));
    const workers = [1, 2].map(() => new Worker(fixture, {argv: args(500)}));
    let parts = 0;
    const poll = setInterval(() => void (parts += existsSync(target) && readdirSync(target).length !== 2 ? 1 : 0), 5);
    const exits = await Promise.all([...processes, ...workers].map((one) => once(one, "exit")));
    clearInterval(poll);
    t.strictSame(exits.map(([code]) => code as number), [0, 0, 0, 0, 0]);
    t.equal(builds(), 1);
    t.equal(parts, 0);
    t.strictSame(readdirSync(dirname(target)), ["engine"], "nothing else is left");
});

t.test("one that is killed in the middle holds nobody up", async (t) => {
    const {target, log, args, builds} = places(t);
    const doomed = startProcess(args(60_000));
    while (!existsSync(log)) await sleep(10);
    const waiting = startProcess(args(1));
    await sleep(300);
    t.equal(builds(), 1, "the other waits");
    doomed.kill("SIGKILL");
    t.strictSame((await once(waiting, "exit"))[0], 0);
    t.equal(builds(), 2);
    t.strictSame(readdirSync(dirname(target)), ["engine"], "and what the first had left is gone");
});

t.test("a failed build leaves what was there, and the next can succeed", async (t) => {
    const {target} = places(t);
    mkdirSync(target, {recursive: true});
    writeFileSync(join(target, "old"), "");
    t.equal(await codeOf(buildOnce(target, () => false, () => Promise.reject(new Error("no compiler")))), "no compiler");
    t.strictSame(readdirSync(dirname(target)), ["engine"]);
    t.strictSame(readdirSync(target), ["old"]);
    await buildOnce(target, () => false, async (folder) => {
        const made = join(folder, "made");
        await cp(fixture, join(made, "new"));
        return made;
    });
    t.strictSame(readdirSync(target), ["new"], "replaced as a whole");
});

/** Loads the engine from a package that has it in `folder`, in a process of its own. @returns how that ends */
function copyOfPackage(t: Test, folder: string) {
    const copy = t.testdir();
    const engine = join(copy, folder);
    cpSync(join(root, "dist"), join(copy, "dist"), {recursive: true});
    cpSync(join(root, "package.json"), join(copy, "package.json"));
    cpSync(join(root, "scripts"), join(copy, "scripts"), {recursive: true});
    cpSync(join(root, "build/native/Release", release), engine, {recursive: true});
    const script = `
        const {loadNative, loadedLibraries} = await import(${JSON.stringify(pathToFileURL(join(copy, "dist/engine/load.js")).href)});
        loadedLibraries();
        const {code, message} = await loadNative().catch((error) => error);
        console.log(JSON.stringify({code, message}));`;
    return {
        engine,
        load() {
            // No tools on the PATH: nothing is built.
            const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], {encoding: "utf8", env: {PATH: copy}});
            return {status: child.status, signal: child.signal, ...JSON.parse(child.stdout || "{}") as {code?: string; message?: string}};
        }
    };
}

for (const [folder, advice] of [[`build/native/Release/${release}`, /built here is damaged.*needs cmake, git, c\+\+/], [
    `prebuilds/${process.platform}-${process.arch}/${release}`, /prebuilt engine is damaged.*Install llama-deltastore again/
]] as const) {
    t.test(`damaged files in ${folder} are an error, not the process's end`, async (t) => {
        for (const name of ["deltastore.node", "deltastore_loader.node"]) {
            const {engine, load} = copyOfPackage(t, folder);
            const file = join(engine, name);
            const whole = readFileSync(file);
            for (const length of [0, 5000, whole.length - 1]) {
                truncateSync(file, length);
                const result = load();
                t.match(result, {status: 0, code: "BINARY_MISSING", message: advice}, `${name} cut to ${length} bytes`);
                t.match(result.message, `${file} has ${length} bytes instead of ${whole.length}`);
                writeFileSync(file, whole);
            }
            whole[whole.length >> 1]! ^= 1;
            writeFileSync(file, whole);
            t.match(load(), {status: 0, code: "BINARY_MISSING", message: /SHA-256 of \S+ is [0-9a-f]{64} instead of [0-9a-f]{64}/}, name);
        }
        const {engine, load} = copyOfPackage(t, folder);
        t.match(load(), {status: 0, message: /undefined symbol/}, "a whole one is loaded, and misses node-llama-cpp's libraries");
        const manifest = join(engine, "manifest.json");
        for (const text of ["", "null", "{}", "[1]"]) {
            writeFileSync(manifest, text);
            t.match(load(), {status: 0, code: "BINARY_MISSING", message: manifest}, `manifest: ${text}`);
        }
        rmSync(manifest);
        t.match(load(), {status: 0, code: "BINARY_MISSING", message: /manifest\.json.*ENOENT/});
    });
}
