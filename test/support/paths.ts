import {resolve} from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";

/** The package's folder; this file runs from build/js/test/support. */
export const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** URL of a module of the built package, for `import()`; `path` is relative to dist. */
export function dist(path: string): string {
    return pathToFileURL(resolve(root, "dist", path)).href;
}

/** The command's entry point. */
export const cliPath = resolve(root, "dist/cli/main.js");
