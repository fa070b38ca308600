import path from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";

/** The package's folder; this file runs from build/js/bench/support. */
export const root = fileURLToPath(new URL("../../../../", import.meta.url));

type Modules = {
    "index.js": typeof import("../../ts/index.js");
    "load-native.js": typeof import("../../ts/load-native.js");
    "models/fetch.js": typeof import("../../ts/models/fetch.js");
};

/** A module of the built package. */
export async function dist<Name extends keyof Modules>(name: Name): Promise<Modules[Name]> {
    return await import(pathToFileURL(path.join(root, "dist", name)).href) as Modules[Name];
}
