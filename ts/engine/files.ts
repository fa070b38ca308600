import {createHash} from "node:crypto";
import {existsSync, readFileSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

export const packageRoot = path.resolve(fileURLToPath(import.meta.url), "../../..");
export const engineFile = "deltastore.node";
export const loaderFile = "deltastore_loader.node";
/** Written by scripts/engine-manifest.mjs. */
const manifestFile = "manifest.json";

/** Where the engine for a llama.cpp release is in a package of this platform. */
export const prebuiltFolder = (release: string): string => path.join(packageRoot, "prebuilds", `${process.platform}-${process.arch}`, release);

/** Where it is once it was built here. */
export const builtFolder = (release: string): string => path.join(packageRoot, "build", "native", "Release", release);

/**
 * The folder with the engine for a llama.cpp release: this platform's prebuilt one, or what was built here; null if there is neither.
 * @param headers of node-llama-cpp's own addon, as `installedHeaders` gives them: an engine that was built with others doesn't count
 */
export function binaryFolder(release: string, headers: string | null): string | null {
    return [prebuiltFolder(release), builtFolder(release)].find((folder) =>
        existsSync(path.join(folder, engineFile)) && existsSync(path.join(folder, loaderFile)) && servesHeaders(folder, headers)) ?? null;
}

interface Manifest {
    addonHeaders?: string;
    [file: string]: {bytes: number; sha256: string} | string | undefined;
}

const readManifest = (folder: string): Manifest => JSON.parse(readFileSync(path.join(folder, manifestFile), "utf8")) as Manifest;

/** Whether the engine in this folder was built with these headers. A damaged manifest is another matter. */
function servesHeaders(folder: string, headers: string | null): boolean {
    if (headers === null) return true;
    try {
        const built = readManifest(folder).addonHeaders;
        return typeof built !== "string" || built === headers;
    } catch {
        return true;
    }
}

/** What makes the engine in this folder unsafe to load. Null if its files are those that its manifest lists. */
export function findDamage(folder: string): string | null {
    const manifestPath = path.join(folder, manifestFile);
    let manifest: Manifest;
    try {
        manifest = readManifest(folder);
    } catch (error) {
        return `its ${manifestPath} can't be read: ${(error as Error).message}`;
    }
    if (typeof manifest?.addonHeaders !== "string") return `${manifestPath} doesn't tell the headers that it was built with`;
    for (const name of [engineFile, loaderFile]) {
        const file = path.join(folder, name);
        const expected = manifest[name];
        if (typeof expected !== "object") return `${manifestPath} doesn't list ${name}`;
        let found: Buffer;
        try {
            found = readFileSync(file);
        } catch (error) {
            return (error as Error).message;
        }
        if (found.length !== expected.bytes) return `${file} has ${found.length} bytes instead of ${expected.bytes}`;
        const sha256 = createHash("sha256").update(found).digest("hex");
        if (sha256 !== expected.sha256) return `the SHA-256 of ${file} is ${sha256} instead of ${expected.sha256}`;
    }
    return null;
}

/** The SHA-256 of the engine in this folder, as its manifest says. */
export function engineHash(folder: string): string {
    const engine = readManifest(folder)[engineFile];
    if (typeof engine !== "object") throw new Error(`${path.join(folder, manifestFile)} doesn't list ${engineFile}`);
    return engine.sha256;
}
