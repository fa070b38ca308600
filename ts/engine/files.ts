import {createHash} from "node:crypto";
import {existsSync, readFileSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

export const packageRoot = path.resolve(fileURLToPath(import.meta.url), "../../..");
export const engineFile = "deltastore.node";
export const loaderFile = "deltastore_loader.node";
/** Written by scripts/engine-manifest.mjs. */
const manifestFile = "manifest.json";

export const prebuiltFolder = path.join(packageRoot, "prebuilds", `${process.platform}-${process.arch}`);
export const builtFolder = path.join(packageRoot, "build", "native", "Release");

/** The folder with the engine: this platform's prebuilt one, or what was built here; null if there is neither. */
export function binaryFolder(): string | null {
    return [prebuiltFolder, builtFolder]
        .find((folder) => existsSync(path.join(folder, engineFile)) && existsSync(path.join(folder, loaderFile))) ?? null;
}

/** What makes the engine in this folder unsafe to load. Null if its files are those that its manifest lists. */
export function findDamage(folder: string): string | null {
    const manifestPath = path.join(folder, manifestFile);
    let manifest: Record<string, {bytes: number; sha256: string}>;
    try {
        manifest = JSON.parse(readFileSync(manifestPath, "utf8")) as typeof manifest;
    } catch (error) {
        return `its ${manifestPath} can't be read: ${(error as Error).message}`;
    }
    for (const name of [engineFile, loaderFile]) {
        const file = path.join(folder, name);
        const expected = manifest?.[name];
        if (expected === undefined) return `${manifestPath} doesn't list ${name}`;
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
