import {execFile} from "node:child_process";
import {mkdirSync, rmSync} from "node:fs";
import {cp, readFile, writeFile} from "node:fs/promises";
import {dirname, join} from "node:path";
import {promisify} from "node:util";
import {fileURLToPath} from "node:url";
import {root} from "./paths.js";

const run = promisify(execFile);

/** node-llama-cpp's folder, of this release, in build/runtimes. Or why there is none: it is taken from npm. */
export async function fetchRuntime(version: string): Promise<{folder: string} | {reason: string}> {
    try {
        const {stdout} = await run(process.execPath, [join(root, "scripts/fetch-runtime.mjs"), version]);
        return {folder: stdout.trim()};
    } catch (error) {
        return {reason: `node-llama-cpp ${version} can't be fetched: ${(error as Error).message}`};
    }
}

/** Builds the plugin for this node-llama-cpp, beside the one that is there for the installed one. The engine is not compiled again. */
export async function buildPlugin(runtime: string): Promise<void> {
    await run("npm", ["run", "build:native"],
        {cwd: root, maxBuffer: 64 << 20, env: {...process.env, DELTASTORE_RUNTIMES: `${installed}:${runtime}`}});
}

export const installed = dirname(dirname(fileURLToPath(import.meta.resolve("node-llama-cpp"))));

/**
 * A copy of the installed node-llama-cpp with changes, in build/runtimes.
 * @param version of it and its binary
 * @param changes for each file of node-llama-cpp what becomes of its text
 */
export async function changedRuntime(name: string, version: string, changes: Record<string, (text: string) => string> = {}): Promise<string> {
    const renamed = (text: string) => text.replace(/"version": "[^"]+"/, `"version": "${version}"`);
    const folder = join(root, "build/runtimes", name, "node_modules"), runtime = join(folder, "node-llama-cpp");
    rmSync(dirname(folder), {recursive: true, force: true});
    for (const part of ["node-llama-cpp", "@node-llama-cpp/linux-x64"]) {
        mkdirSync(dirname(join(folder, part)), {recursive: true});
        await run("cp", ["-rl", join(installed, "..", part), join(folder, part)]);  // linked: they are large
    }
    for (const [file, change] of Object.entries({"package.json": renamed, "../@node-llama-cpp/linux-x64/package.json": renamed, ...changes}))
        await changeFile(join(runtime, file), change);
    return runtime;
}

/** Another file gets the name: the old one may be linked to the installed one. */
export async function changeFile(path: string, change: (text: string) => string): Promise<void> {
    const text = await readFile(path, "utf8"), changed = change(text);
    if (changed === text && !path.endsWith("package.json")) throw new Error(`${path} has not what is to be changed`);
    rmSync(path);
    await writeFile(path, changed);
}

/**
 * A copy of this package and its tests that finds this node-llama-cpp in place of the installed one, beside it. Everything else is found in the
 * package's own node_modules, as the copy lies below it.
 * @param release the runtime's llama.cpp
 */
export async function packageFor(runtime: string, release: string): Promise<string> {
    const folder = join(runtime, "../.."), engine = join("build/native/Release", release);
    for (const part of ["dist", "build", "test"]) rmSync(join(folder, part), {recursive: true, force: true});
    for (const part of ["package.json", "dist", "config-schema", "scripts", "test/fixtures", "build/js", engine]) {
        mkdirSync(dirname(join(folder, part)), {recursive: true});
        await cp(join(root, part), join(folder, part), {recursive: true});
    }
    return folder;
}

export interface Outcome {
    code: number | null;
    output: string;
    /** Of all checks, as TAP's last line counts them. */
    passed: number;
}

/** Runs a command of the copy by Node. */
export async function runIn(folder: string, args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Outcome> {
    // A program that finds variables of a runner of tests leaves its counts out.
    const inherited = Object.entries(process.env).filter(([name]) => !/^(DELTASTORE_POLICY$|NODE_OPTIONS$|_?TAP)/.test(name));
    const env = {...Object.fromEntries(inherited), ...more};
    const {code, output} = await new Promise<{code: number | null; output: string}>((resolve) => {
        execFile(process.execPath, args, {cwd: folder, env, maxBuffer: 64 << 20, timeout: 300_000, killSignal: "SIGKILL"}, (error, stdout, stderr) =>
            resolve({code: error === null ? 0 : typeof error.code === "number" ? error.code : null, output: stdout + stderr}));
    });
    return {code, output, passed: Number(/^# \{.*?\bpass: (\d+)/m.exec(output)?.[1] ?? 0)};
}

/** The llama.cpp release of this node-llama-cpp. */
export async function releaseOf(runtime: string): Promise<string> {
    return (JSON.parse(await readFile(join(runtime, "llama/binariesGithubRelease.json"), "utf8")) as {release: string}).release;
}
