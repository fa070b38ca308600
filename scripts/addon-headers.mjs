import {createHash} from "node:crypto";
import {readdirSync, readFileSync} from "node:fs";
import path from "node:path";

/**
 * SHA-256 of the headers of node-llama-cpp's own addon. The engine reads the objects that they describe, so a binary serves only the node-llama-cpp
 * releases whose headers are those that it was built with. Names and contents count, in the order of the names.
 * @param {string} runtime node-llama-cpp's folder
 * @throws errors of the file system
 */
export function addonHeaders(runtime) {
    const folder = path.join(runtime, "llama", "addon"), hash = createHash("sha256");
    const names = readdirSync(folder, {recursive: true, encoding: "utf8"}).filter((name) => name.endsWith(".h")).sort();
    for (const name of names) {
        const text = readFileSync(path.join(folder, name));
        hash.update(`${name} ${text.length}\n`).update(text);
    }
    return hash.digest("hex");
}
