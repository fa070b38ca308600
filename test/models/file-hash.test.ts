import {execFileSync} from "node:child_process";
import {copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {DeltaStoreError} from "llama-deltastore";
import t from "tap";
import {tinyPath} from "../support/tiny-engine.js";
import type {NativeBinding} from "../../dist/engine/native.js";
import {flipBit, tensorPlaces} from "../support/changed-gguf.js";
import {codeOf, nativeBinding, openLlama, rejection} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {dist} from "../support/paths.js";

const {fileHash, stampOf} = await import(dist("models/file-hash.js")) as typeof import("../../dist/models/file-hash.js");

t.setTimeout(240_000);

const llama = await openLlama(), native = await nativeBinding();
t.teardown(() => llama.dispose());

const pieceBytes = 16 << 20;
const hex = async (hash: Promise<Uint8Array>) => Buffer.from(await hash).toString("hex");
/** Bytes that are the same each time. */
function pattern(length: number): Buffer {
    const words = Uint32Array.from({length: Math.ceil(length / 4)}, (_, index) => Math.imul(index, 0x9e3779b1) ^ (index >>> 7));
    return Buffer.from(words.buffer).subarray(0, length);
}

/** The same binding, and how often it has hashed a file. */
function counting(): {native: NativeBinding; hashed: () => number} {
    let count = 0;
    return {
        hashed: () => count,
        native: {...native, hashFile: (path) => {
            count++;
            return native.hashFile(path);
        }}
    };
}

for (const [name, path, types] of [["tiny", await tinyPath(), [0, 1]], ["real", await demoModelPath(), [0, 3, 8]]] as const) {
    t.test(`${name} model: one bit of any tensor makes another hash`, async (t) => {
        const copy = join(t.testdir(), "copy.gguf"), places = tensorPlaces(path), hashes = new Set<string>();
        t.strictSame([...new Set(places.map(({type}) => type))].sort((a, b) => a - b), types, "types of tensors");
        copyFileSync(path, copy);
        const whole = await hex(native.hashFile(path));
        t.equal(await hex(native.hashFile(copy)), whole, "a copy has the same");
        for (const {middle} of places) {
            flipBit(copy, middle);
            hashes.add(await hex(native.hashFile(copy)));
            flipBit(copy, middle);
        }
        t.equal(hashes.size, places.length, "each is another");
        t.notOk(hashes.has(whole));
        t.equal(await hex(native.hashFile(copy)), whole);
    });
}

t.test("hashes are the same as ever, because states and turns hold them", async (t) => {
    const path = join(t.testdir(), "file");
    for (const [length, expected] of [
        [0, "99aa06d3014798d86001c324468d497f"], [1, "9dd3724f5a90063813fbf97d8707b52b"],
        [pieceBytes, "2e2e818003b83e520e921278c33f36b7"], [pieceBytes + 1, "659b109b46d20c1b60410caabae17d40"]
    ] as const) {
        writeFileSync(path, pattern(length));
        t.equal(await hex(native.hashFile(path)), expected, `of ${length} bytes`);
    }
});

t.test("every piece of a file, their order, and zeros at the end change its hash", async (t) => {
    const path = join(t.testdir(), "file"), bytes = pattern(2 * pieceBytes + 100);
    const pieces = [bytes.subarray(0, pieceBytes), bytes.subarray(pieceBytes, 2 * pieceBytes), bytes.subarray(2 * pieceBytes)] as const;
    const files = [
        bytes, Buffer.concat([pieces[1], pieces[0], pieces[2]]), Buffer.concat([pieces[0], pieces[0], pieces[2]]), bytes.subarray(0, -1), bytes.subarray(0, 2 * pieceBytes),
        Buffer.concat([bytes, Buffer.alloc(1)]), Buffer.concat([bytes, Buffer.alloc(pieceBytes)]), Buffer.alloc(10), Buffer.alloc(11), Buffer.alloc(0)
    ];
    const hashes = new Set<string>();
    for (const file of files) {
        writeFileSync(path, file);
        hashes.add(await hex(native.hashFile(path)));
    }
    t.equal(hashes.size, files.length);
});

t.test("a file that can't be read is an error", async (t) => {
    const folder = t.testdir(), pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [join(folder, "none"), folder, pipe]) {
        t.match(await rejection(native.hashFile(path)), {code: "MODEL_NOT_FOUND", message: path});
    }
    t.equal(await codeOf(stampOf(join(folder, "none"))), "MODEL_NOT_FOUND");
});

for (const [what, change] of [["cut", (path: string) => truncateSync(path, 1000)], ["written to", (path: string) => flipBit(path, 5)]] as const) {
    t.test(`a file that is ${what} while it is hashed is an error, and no end of the process`, async (t) => {
        const path = join(t.testdir(), "file"), outcomes: string[] = [];
        for (let round = 0; round < 20 && !outcomes.includes("MODEL_CHANGED"); round++) {
            writeFileSync(path, "");
            truncateSync(path, 2 ** 30);  // takes no room on the disk
            const stamp = await stampOf(path), hashing = codeOf(fileHash(native, stamp));
            await sleep(20 + 10 * round);
            change(path);
            outcomes.push(await hashing);
        }
        t.equal(outcomes.at(-1), "MODEL_CHANGED");
        t.ok(outcomes.slice(0, -1).every((outcome) => outcome === "fulfilled"), "or the change came too late");
    });
}

t.test("a file is hashed once, whatever it is called and whoever asks", async (t) => {
    const folder = t.testdir({"file": "contents"}), path = join(folder, "file"), link = join(folder, "link"), {native, hashed} = counting();
    symlinkSync(path, link);
    await sleep(1100);  // a file that was written just now is hashed again
    const hashes = await Promise.all([path, path, link].map(async (one) => await hex(fileHash(native, await stampOf(one)))));
    t.equal(new Set(hashes).size, 1);
    t.equal(await hex(fileHash(native, await stampOf(path))), hashes[0]);
    t.equal(hashed(), 1);
});

t.test("a file that changes is hashed anew, however soon and whatever its times say", async (t) => {
    const folder = t.testdir({"file": "contents 0"}), path = join(folder, "file"), {native, hashed} = counting(), seen = new Set<string>();
    for (let version = 0; version < 10; version++) {
        writeFileSync(path, `contents ${version}`);
        for (let again = 0; again < 2; again++) seen.add(await hex(fileHash(native, await stampOf(path))));
    }
    t.equal(seen.size, 10, "written one after the other");
    t.equal(hashed(), 20, "what was written just now may be written once more without another time");
    await sleep(1100);
    seen.clear();
    const past = new Date(2020, 1, 1);
    for (const contents of ["one", "two"]) {
        writeFileSync(path, contents);
        utimesSync(path, past, past);
        await sleep(1100);
        seen.add(await hex(fileHash(native, await stampOf(path))));
    }
    t.equal(seen.size, 2, "with the time of its contents set back");
});

t.test("a hash that is asked for an earlier file is refused for the file that is there now", async (t) => {
    const folder = t.testdir({file: "contents", other: "CONTENTS"}), path = join(folder, "file");
    await sleep(20);  // more than a tick of the file system's clock
    const refuses = async (name: string, change: () => void, code: string, message: RegExp) => {
        const stamp = await stampOf(path);
        await sleep(20);
        change();
        const error = await rejection(fileHash(native, stamp));
        t.type(error, DeltaStoreError, name);
        t.match(error, {code, message}, name);
        t.match(error.message, path);
    };
    await refuses("written to", () => writeFileSync(path, "CONTENTS"), "MODEL_CHANGED", /was replaced or changed since it was loaded.*Load the model again/);
    await refuses("touched", () => utimesSync(path, new Date(), new Date()), "MODEL_CHANGED", /changed/);
    await refuses("replaced", () => renameSync(join(folder, "other"), path), "MODEL_CHANGED", /changed/);
    await refuses("gone", () => rmSync(path), "MODEL_NOT_FOUND", /can't be read again/);
    writeFileSync(path, "contents");
    await refuses("a folder now", () => {
        rmSync(path);
        mkdirSync(path);
    }, "MODEL_CHANGED", /changed/);
});
