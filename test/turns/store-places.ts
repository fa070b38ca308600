import {type ChildProcess, spawn} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join, resolve} from "node:path";
import type {Test} from "tap";
import {root} from "../support/paths.js";

/** What a store's error must match. */
export const failed = {name: "DeltaStoreError", code: "STORE_FAILED"};

export function temporaryFolder(t: Test): string {
    const folder = mkdtempSync(join(tmpdir(), "deltastore-stores-"));
    t.teardown(() => rmSync(folder, {recursive: true, force: true}));
    return folder;
}

export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
    const all: T[] = [];
    for await (const item of items) all.push(item);
    return all;
}

/**
 * Without NODE_OPTIONS: what tap loads there lets SIGXFSZ end a process.
 * @param before a shell's command that comes first
 */
export function processOf(job: string, kind: string, place: string, number: number, before = ":"): ChildProcess {
    const script = resolve(root, "build/js/test/turns/store-process.js");
    return spawn("bash", ["-c", `unset NODE_OPTIONS; ${before}; exec "$@"`, "bash", process.execPath, script, job, kind, place, String(number)],
        {stdio: ["ignore", "pipe", "inherit"]});
}

export async function outputOf(child: ChildProcess): Promise<string> {
    let output = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => { output += text; });
    await new Promise((resolve) => child.once("close", resolve));
    return output;
}

export async function ended(child: ChildProcess): Promise<void> {
    const output = await outputOf(child);
    if (child.exitCode !== 0) throw new Error(`the process ended with ${child.exitCode ?? child.signalCode}: ${output}`);
}
