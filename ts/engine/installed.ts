import {readFileSync} from "node:fs";
import path from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";
import {packageRoot} from "./files.js";

/** Folder of the node-llama-cpp that this package works with. */
export const runtimeFolder = path.resolve(fileURLToPath(import.meta.resolve("node-llama-cpp")), "../..");

/** The llama.cpp release of the installed node-llama-cpp, as its bundle says. Null if it can't be read. */
export function installedRelease(): string | null {
    try {
        const {release} = JSON.parse(readFileSync(path.join(runtimeFolder, "llama", "binariesGithubRelease.json"), "utf8")) as {release?: unknown};
        return typeof release === "string" ? release : null;
    } catch {
        return null;
    }
}

// A script, as the build uses it before there is a dist folder.
const {addonHeaders} = await import(pathToFileURL(path.join(packageRoot, "scripts", "addon-headers.mjs")).href) as {addonHeaders(runtime: string): string};

/** A hash of the headers of the installed node-llama-cpp's own addon. Null if it has none: some apps leave sources out of what they ship. */
export function installedHeaders(): string | null {
    try {
        return addonHeaders(runtimeFolder);
    } catch {
        return null;
    }
}
