import {execFile} from "node:child_process";
import {createRequire} from "node:module";
import path from "node:path";
import {promisify} from "node:util";
import {buildOnce} from "./build-once.js";
import {binaryFolder, builtFolder, engineFile, findDamage, loaderFile, packageRoot, prebuiltFolder} from "./files.js";
import {DeltaStoreError} from "../errors.js";
import type {NativeBinding} from "./native.js";

const require = createRequire(import.meta.url);

let binding: NativeBinding | undefined;

/**
 * Loads the engine into the process. Builds it first if there is no binary, or if one that was built here is damaged. node-llama-cpp's own addon
 * must be loaded already.
 * @throws DeltaStoreError BINARY_MISSING with what is wrong and what to do
 */
export async function loadNative(): Promise<NativeBinding> {
    if (binding !== undefined) return binding;
    const folder = await wholeFolder();
    try {
        // The engine is linked without llama.cpp. The loader makes the copy visible to it that node-llama-cpp has loaded.
        (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
        binding = require(path.join(folder, engineFile)) as NativeBinding;
    } catch (error) {
        throw new DeltaStoreError("BINARY_MISSING", `The engine in ${folder} can't be loaded: ${(error as Error).message}. ` +
            `Delete the folder to have it built again`, {cause: error});
    }
    return binding;
}

/** Paths of the llama.cpp libraries in this process. None if there is no engine to ask. */
export function loadedLibraries(): string[] {
    const folder = binaryFolder();
    if (folder === null || findDamage(folder) !== null) return [];
    return (require(path.join(folder, loaderFile)) as {promote(): string[]}).promote();
}

async function wholeFolder(): Promise<string> {
    const folder = binaryFolder();
    if (folder === null) return await build(`There is no prebuilt engine for ${process.platform}-${process.arch}`);
    const damage = findDamage(folder);
    if (damage === null) return folder;
    if (folder === prebuiltFolder)
        throw new DeltaStoreError("BINARY_MISSING", `The prebuilt engine is damaged: ${damage}. Install llama-deltastore again, ` +
            `or delete ${folder} to have the engine built here`);
    return await build(`The engine that was built here is damaged: ${damage}`);
}

/** @param reason a sentence without its full stop */
async function build(reason: string): Promise<string> {
    const missing: string[] = [];
    for (const tool of ["cmake", "git", "c++"])
        await promisify(execFile)(tool, ["--version"]).catch(() => missing.push(tool));
    const advice = "On Debian or Ubuntu: apt-get install cmake git g++. Then run `npx deltastore doctor`.";
    if (missing.length > 0)
        throw new DeltaStoreError("BINARY_MISSING", `${reason}, and building it needs ${missing.join(", ")}. ${advice}`);
    process.emitWarning(`${reason}. llama-deltastore builds it once; this takes about a minute`, {code: "DELTASTORE_BUILD"});
    try {
        await buildOnce(builtFolder, () => findDamage(builtFolder) === null, async (workFolder) => {
            await promisify(execFile)(process.execPath,
                [require.resolve("cmake-js/bin/cmake-js"), "compile", "--directory", packageRoot, "--out", workFolder],
                {cwd: packageRoot, maxBuffer: 64 << 20});
            return path.join(workFolder, "Release");
        });
    } catch (error) {
        const {stdout = "", stderr = "", message} = error as Error & {stdout?: string; stderr?: string};
        throw new DeltaStoreError("BINARY_MISSING",
            `${reason}, and building it in ${builtFolder} failed. ${advice}\n${(stdout + stderr).slice(-2000) || message}`, {cause: error});
    }
    const damage = findDamage(builtFolder);
    if (damage !== null) throw new DeltaStoreError("BINARY_MISSING", `Building the engine left none that can be used: ${damage}. ${advice}`);
    return builtFolder;
}
