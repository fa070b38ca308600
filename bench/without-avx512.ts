/**
 * The speed bench as on a processor without AVX-512: `npm run bench:avx2 -- [options of npm run bench]`. It runs in a copy of the package.
 * There, stock has only its AVX2 library, and ours takes its AVX2 kernels.
 */
import {execFileSync, spawnSync} from "node:child_process";
import {mkdtempSync, readdirSync, rmSync} from "node:fs";
import path from "node:path";
import {root} from "./support/package.js";

const avx512 = /^libggml-cpu-(skylakex|cannonlake|cascadelake|cooperlake|icelake|sapphirerapids|zen4)\.so$/;

// In the package, so that files can be linked instead of copied.
const copy = mkdtempSync(path.join(root, "build/avx2-"));
process.once("exit", () => rmSync(copy, {recursive: true}));
execFileSync("cp", ["-al", "--parents", "package.json", "config-schema", "scripts", "node_modules", "dist", "build/js", "build/native", copy], {cwd: root});
const binaries = path.join(copy, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64");
const hidden = readdirSync(binaries).filter((name) => avx512.test(name));
if (hidden.length === 0) throw new Error(`${binaries} has no library for AVX-512; does node-llama-cpp name them otherwise now?`);
for (const name of hidden) rmSync(path.join(binaries, name));

const {status} = spawnSync(process.execPath, [
    path.join(copy, "build/js/bench/speed.js"), "--out", path.join(root, "bench/results/speed-avx2.json"), ...process.argv.slice(2)
], {stdio: "inherit", env: {...process.env, DELTASTORE_KERNEL: "avx2"}});
process.exitCode = status ?? 1;
