import {writeFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {tinyGguf} from "../support/gguf.js";
import {dist} from "../support/paths.js";

const {verifyGguf} = await import(dist("models/gguf.js")) as typeof import("../../dist/models/gguf.js");
const {tensorBytes} = await import(dist("models/ggml-types.js")) as typeof import("../../dist/models/ggml-types.js");

t.test("a file that is cut anywhere is refused as damaged", async (t) => {
    const contents = tinyGguf();
    const path = join(t.testdir(), "model.gguf");
    writeFileSync(path, contents);
    await t.resolves(verifyGguf(path));
    for (let length = 0; length < contents.length; length += length < 200 ? 1 : 37) {
        writeFileSync(path, contents.subarray(0, length));
        const error = await verifyGguf(path).then(() => null, (error) => error);
        if (error?.code !== "MODEL_DAMAGED") t.fail(`cut at ${length}: ${error}`);
    }
});

t.test("a file with a changed header is refused as damaged", async (t) => {
    const path = join(t.testdir(), "model.gguf");
    const changes: [number, number][] = [[0, 0x58], [4, 99], [8, 2], [14, 0xff], [22, 0xff], [31, 0xff]];
    for (const [offset, value] of changes) {
        const contents = tinyGguf();
        contents[offset] = value;
        writeFileSync(path, contents);
        const error = await verifyGguf(path).then(() => null, (error) => error);
        t.equal(error?.code, "MODEL_DAMAGED", `byte ${offset} is ${value}: ${error?.message}`);
    }
});

t.test("any other bytes are accepted or refused as damaged, without delay", async (t) => {
    const path = join(t.testdir({"model.gguf": "GGUF, but not really"}), "model.gguf");
    await t.rejects(verifyGguf(path), {code: "MODEL_DAMAGED"});
    let state = 12345;
    const random = (below: number): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor(state / 2 ** 32 * below);
    };
    for (let round = 0; round < 500; round++) {
        const contents = tinyGguf();
        for (let change = 0; change <= random(4); change++) contents[random(160)] = random(256);
        writeFileSync(path, contents);
        const error = await verifyGguf(path).then(() => null, (error) => error);
        if (error !== null && error.code !== "MODEL_DAMAGED") t.fail(`round ${round}: ${error}`);
    }
    // Arrays in arrays, to the end of the file.
    const nested = tinyGguf().subarray(0, 24 + 8 + "general.architecture".length);
    const level = Buffer.from("090000000100000000000000", "hex");
    writeFileSync(path, Buffer.concat([nested, level.subarray(0, 4), ...Array(100_000).fill(level)]));
    await t.rejects(verifyGguf(path), {code: "MODEL_DAMAGED"});
});

t.test("the size of a tensor follows from its type and dimensions", async (t) => {
    t.equal(tensorBytes(0, [64, 2]), 512, "F32");
    t.equal(tensorBytes(1, [64, 2]), 256, "F16");
    t.equal(tensorBytes(3, [576, 49152]), 576 * 49152 / 32 * 20, "Q4_1");
    t.equal(tensorBytes(12, [256, 3]), 3 * 144, "Q4_K");
    t.equal(tensorBytes(9999, [256]), 0, "a type that isn't known");
});
