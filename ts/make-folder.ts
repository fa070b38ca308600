import {mkdir, stat} from "node:fs/promises";
import {dirname} from "node:path";

/** Makes a folder and those above it. Node's own `recursive` never ends below a folder that takes none, like /proc. */
export async function makeFolder(path: string, mode?: number): Promise<void> {
    try {
        await makeOne(path, mode);
    } catch (error) {
        const parent = dirname(path);
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === path) throw error;
        await makeFolder(parent, mode);
        await makeOne(path, mode);
    }
}

async function makeOne(path: string, mode?: number): Promise<void> {
    try {
        await mkdir(path, {mode});
    } catch (error) {
        const isThere = (error as NodeJS.ErrnoException).code === "EEXIST" && (await stat(path)).isDirectory();
        if (!isThere) throw error;
    }
}
