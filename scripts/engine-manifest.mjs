// Writes size and SHA-256 of the engine's files beside them, and which headers of node-llama-cpp's addon they were built with. Arguments: their
// folder, node-llama-cpp's folder. A library that was cut or changed kills the process that loads it, so ts/engine/files.ts compares all of it first.
import {createHash} from "node:crypto";
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {addonHeaders} from "./addon-headers.mjs";

const [folder, runtime] = process.argv.slice(2), manifest = {addonHeaders: addonHeaders(runtime)};
for (const name of ["deltastore.node", "deltastore_loader.node"]) {
    const file = readFileSync(path.join(folder, name));
    manifest[name] = {bytes: file.length, sha256: createHash("sha256").update(file).digest("hex")};
}
const target = path.join(folder, "manifest.json"), text = `${JSON.stringify(manifest, null, 4)}\n`;
if (!existsSync(target) || readFileSync(target, "utf8") !== text) writeFileSync(target, text);  // else somebody may be reading it
