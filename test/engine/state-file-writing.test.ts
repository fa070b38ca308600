import {spawnSync} from "node:child_process";
import {chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import type {LlamaContextSequence} from "node-llama-cpp";
import t, {type Test} from "tap";
import {rejection} from "../support/engine.js";
import {root} from "../support/paths.js";
import {loadState, openStateFiles, statePrompt} from "../support/state-files.js";

t.setTimeout(120_000);

const {model, modelPath, createContext} = await openStateFiles(t);

/** A sequence that holds the prompt, to be saved where it can't be. */
async function filled(t: Test): Promise<LlamaContextSequence> {
    const context = await createContext(model, "high"), sequence = context.getSequence();
    t.teardown(() => context.dispose());
    await sequence.evaluateWithoutGeneratingNewTokens(statePrompt);
    return sequence;
}

/** Mounts a file system of so many bytes. @returns its folder, or why there is none */
function smallDisk(t: Test, bytes: number): {folder: string} | {missing: string} {
    const folder = mkdtempSync(join(tmpdir(), "deltastore-disk-"));
    const {status, stderr, error} = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "none", folder], {encoding: "utf8"});
    t.teardown(() => {
        if (status === 0) spawnSync("umount", [folder]);
        rmdirSync(folder);
    });
    return status === 0 ? {folder} : {missing: `no file system can be mounted: ${(error?.message ?? stderr).trim()}`};
}

t.test("on a full disk the file that was there stays, and no part of a new one", async (t) => {
    const page = 4096, sequence = await filled(t), large = join(t.testdir(), "large.bin"), {fileSize} = await sequence.saveStateToFile(large);
    const pages = Math.ceil(fileSize / page), disk = smallDisk(t, (2 * pages + 1) * page);
    if ("missing" in disk) return void t.pass("", {skip: disk.missing});
    const path = join(disk.folder, "state.bin"), filler = join(disk.folder, "filler");
    await sequence.eraseContextTokenRanges([{start: 100, end: statePrompt.length}]);
    await sequence.saveStateToFile(path);
    const before = readFileSync(path);
    await loadState(sequence, large);
    const used = Math.ceil(before.length / page);
    // From no page of the file to all but the last.
    for (const free of [0, 1, pages >> 1, pages - 2, pages - 1]) {
        writeFileSync(filler, Buffer.alloc((2 * pages + 1 - used - free) * page));
        t.match(await rejection(sequence.saveStateToFile(path)), {
            name: "DeltaStoreError", code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: no space left on device (ENOSPC)`
        }, `${free} of ${pages} pages are free`);
        t.ok(readFileSync(path).equals(before), "the file is as it was");
        t.strictSame(readdirSync(disk.folder).sort(), ["filler", "state.bin"]);
        t.strictSame(sequence.contextTokens, statePrompt, "and so is the sequence");
        rmSync(filler);
    }
    const other = (await createContext(model, "high")).getSequence();
    await loadState(other, path);
    t.equal(other.nextTokenIndex, 100);
    await sequence.saveStateToFile(path);
    await loadState(other, path);
    t.equal(other.nextTokenIndex, statePrompt.length, "with room it is written again");
    await other.context.dispose();
});

t.test("a limit on the size of files is told, and leaves no file", (t) => {
    const folder = t.testdir(), path = join(folder, "state.bin");
    const script = 'ulimit -f 16; exec "$0" "$@"', options = JSON.stringify({modelPath, tier: "high", path, tokens: statePrompt});
    const {status, stdout, stderr} = spawnSync("bash", ["-c", script, process.execPath, join(root, "test/fixtures/save-state.mjs"), options], {
        encoding: "utf8", timeout: 60_000
    });
    t.equal(status, 0, stderr);
    t.strictSame(JSON.parse(stdout), {code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: file too large (EFBIG)`});
    t.strictSame(readdirSync(folder), [], "nothing is left");
    t.end();
});

t.test("a path that takes no state file is told with its cause, and links and modes stay", async (t) => {
    const folder = t.testdir({file: "", link: t.fixture("symlink", "kept.bin"), "kept.bin": ""}), sequence = await filled(t);
    const attempts: [string, string][] = [
        [join(folder, "none", "state.bin"), "no such file or directory (ENOENT)"], [join(folder, "file", "state.bin"), "not a directory (ENOTDIR)"],
        [join(folder, "x".repeat(300)), "name too long (ENAMETOOLONG)"], [folder, "it is no regular file"], ["/dev/full", "it is no regular file"]
    ];
    const names = readdirSync(folder).sort();
    for (const [path, cause] of attempts) {
        t.match(await rejection(sequence.saveStateToFile(path)), {code: "STATE_WRITE_FAILED", message: `The state file ${path} can't be written: ${cause}`});
        t.strictSame(readdirSync(folder).sort(), names);
    }
    t.ok(statSync("/dev/full").isCharacterDevice());

    const [link, kept] = [join(folder, "link"), join(folder, "kept.bin")];
    chmodSync(kept, 0o600);
    const [{fileSize}] = await Promise.all([sequence.saveStateToFile(link), sequence.saveStateToFile(kept)]);
    t.ok(lstatSync(link).isSymbolicLink(), "a link stays one");
    t.match(statSync(kept), {size: fileSize, mode: 0o100600}, "and who may read a file stays so");
    t.strictSame(readdirSync(folder).sort(), names);
    await loadState(sequence, link);
    t.equal(sequence.nextTokenIndex, statePrompt.length);
});
