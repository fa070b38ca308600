import {execFile} from "node:child_process";
import {createRequire} from "node:module";
import path from "node:path";
import {promisify} from "node:util";
import {buildOnce} from "./build-once.js";
import {binaryFolder, builtFolder, engineFile, findDamage, loaderFile, packageRoot, prebuiltFolder} from "./files.js";
import {installedHeaders, installedRelease} from "./installed.js";
import {DeltaStoreError} from "../errors.js";
import type {NativeBinding} from "./native.js";

const require = createRequire(import.meta.url);

let loaded: {binding: NativeBinding; folder: string} | undefined;

/**
 * Loads the engine for a llama.cpp release into the process. Builds it first if need be, see `readyEngine`. node-llama-cpp's own addon must be
 * loaded already.
 * @param release the installed node-llama-cpp's by default
 * @throws DeltaStoreError BINARY_MISSING with what is wrong and what to do
 */
export async function loadNative(release: string | null = installedRelease()): Promise<NativeBinding> {
    if (loaded !== undefined) return loaded.binding;
    if (release === null) throw new DeltaStoreError("BINARY_MISSING", "The installed node-llama-cpp doesn't tell its llama.cpp release");
    const folder = await readyEngine(release);
    try {
        // The engine is linked without llama.cpp. The loader makes the copy visible to it that node-llama-cpp has loaded.
        (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
        loaded = {binding: require(path.join(folder, engineFile)) as NativeBinding, folder};
    } catch (error) {
        throw new DeltaStoreError("BINARY_MISSING", `The engine in ${folder} can't be loaded: ${(error as Error).message}. ` +
            `Delete the folder to have it built again`, {cause: error});
    }
    return loaded.binding;
}

/** The engine, if it is in this process. */
export const loadedNative = (): NativeBinding | undefined => loaded?.binding;

/** The folder of the engine that is in this process, or that would be loaded. Null if there is none. */
export function engineFolder(release: string | null = installedRelease()): string | null {
    return loaded?.folder ?? (release === null ? null : binaryFolder(release, installedHeaders()));
}

/** Paths of the llama.cpp libraries in this process. None if there is no engine to ask. */
export function loadedLibraries(): string[] {
    const folder = engineFolder();
    if (folder === null || findDamage(folder) !== null) return [];
    return (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
}

/**
 * The folder of the engine for a llama.cpp release, whole. Builds it with the installed node-llama-cpp's headers if there is none for them, or if one
 * that was built here is damaged.
 * @throws DeltaStoreError BINARY_MISSING
 */
export async function readyEngine(release: string): Promise<string> {
    const folder = binaryFolder(release, installedHeaders());
    if (folder === null) return await build(release, `There is no prebuilt engine for ${process.platform}-${process.arch} and this llama.cpp (${release})`);
    const damage = findDamage(folder);
    if (damage === null) return folder;
    if (folder === prebuiltFolder(release))
        throw new DeltaStoreError("BINARY_MISSING", `The prebuilt engine is damaged: ${damage}. Install llama-deltastore again, ` +
            `or delete ${folder} to have the engine built here`);
    return await build(release, `The engine that was built here is damaged: ${damage}`);
}

/** @param reason a sentence without its full stop */
async function build(release: string, reason: string): Promise<string> {
    const missing: string[] = [], target = builtFolder(release);
    for (const tool of ["cmake", "git", "c++"])
        await promisify(execFile)(tool, ["--version"]).catch(() => missing.push(tool));
    const advice = "On Debian or Ubuntu: apt-get install cmake git g++. Then run `npx deltastore doctor`.";
    if (missing.length > 0)
        throw new DeltaStoreError("BINARY_MISSING", `${reason}, and building it needs ${missing.join(", ")}. ${advice}`);
    process.emitWarning(`${reason}. llama-deltastore builds it once; this takes some minutes`, {code: "DELTASTORE_BUILD"});
    const isWhole = () => findDamage(target) === null && binaryFolder(release, installedHeaders()) === target;
    try {
        await buildOnce(target, isWhole, async (workFolder) => {
            const {DELTASTORE_RUNTIMES: _, ...env} = process.env;
            await promisify(execFile)(process.execPath,
                [require.resolve("cmake-js/bin/cmake-js"), "compile", "--directory", packageRoot, "--out", workFolder],
                {cwd: packageRoot, maxBuffer: 64 << 20, env});
            return path.join(workFolder, "Release", release);
        });
    } catch (error) {
        const {stdout = "", stderr = "", message} = error as Error & {stdout?: string; stderr?: string};
        throw new DeltaStoreError("BINARY_MISSING",
            `${reason}, and building it in ${target} failed. ${advice}\n${(stdout + stderr).slice(-2000) || message}`, {cause: error});
    }
    const damage = findDamage(target);
    if (damage !== null) throw new DeltaStoreError("BINARY_MISSING", `Building the engine left none that can be used: ${damage}. ${advice}`);
    return target;
}
