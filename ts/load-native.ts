import {execFile} from "node:child_process";
import {existsSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {fileURLToPath} from "node:url";
import {promisify} from "node:util";
import {DeltaStoreError} from "./errors.js";
import type {NativeBinding} from "./native.js";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const engineFile = "deltastore.node";
const loaderFile = "deltastore_loader.node";

/** The folder with the engine: this platform's prebuilt one, or what was built here; null if there is neither. */
export function binaryFolder(): string | null {
    const folders = [
        path.join(root, "prebuilds", `${process.platform}-${process.arch}`),
        path.join(root, "build", "native", "Release")
    ];
    return folders.find((folder) => existsSync(path.join(folder, engineFile)) && existsSync(path.join(folder, loaderFile))) ?? null;
}

let binding: NativeBinding | undefined;

/**
 * Loads the engine into the process, building it first if there is no binary. node-llama-cpp's own addon must be loaded already.
 * @throws DeltaStoreError BINARY_MISSING with what to install
 */
export async function loadNative(): Promise<NativeBinding> {
    if (binding !== undefined) return binding;
    const folder = binaryFolder() ?? await buildHere();
    try {
        // The engine is linked without llama.cpp; the loader makes the copies that node-llama-cpp has loaded visible to it.
        (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
        binding = require(path.join(folder, engineFile)) as NativeBinding;
    } catch (error) {
        throw new DeltaStoreError("BINARY_MISSING", `The engine in ${folder} can't be loaded: ${(error as Error).message}. ` +
            `Delete the folder to have it built again`, {cause: error});
    }
    return binding;
}

/** Paths of the llama.cpp libraries in this process. */
export function loadedLibraries(): string[] {
    const folder = binaryFolder();
    return folder === null ? [] : (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
}

let building: Promise<string> | undefined;

function buildHere(): Promise<string> {
    building ??= build();
    return building;
}

async function build(): Promise<string> {
    const missing: string[] = [];
    for (const tool of ["cmake", "git", "c++"])
        await promisify(execFile)(tool, ["--version"]).catch(() => missing.push(tool));
    const advice = "On Debian or Ubuntu: apt-get install cmake git g++. Then run `npx deltastore doctor`.";
    if (missing.length > 0)
        throw new DeltaStoreError("BINARY_MISSING", `There is no prebuilt engine for ${process.platform}-${process.arch}, ` +
            `and building it needs ${missing.join(", ")}. ${advice}`);
    process.emitWarning("llama-deltastore builds its engine once; this takes about a minute", {code: "DELTASTORE_BUILD"});
    const cmakeJs = require.resolve("cmake-js/bin/cmake-js");
    try {
        await promisify(execFile)(process.execPath, [cmakeJs, "compile", "--directory", root, "--out", path.join(root, "build", "native")],
            {cwd: root, maxBuffer: 64 << 20});
    } catch (error) {
        const {stdout = "", stderr = ""} = error as {stdout?: string; stderr?: string};
        throw new DeltaStoreError("BINARY_MISSING", `Building the engine in ${root} failed. ${advice}\n${(stdout + stderr).slice(-2000)}`,
            {cause: error});
    }
    const folder = binaryFolder();
    if (folder === null) throw new DeltaStoreError("BINARY_MISSING", `Building the engine in ${root} left no binary. ${advice}`);
    return folder;
}
