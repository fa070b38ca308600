// Writes size and SHA-256 of the engine's files beside them. Argument: their folder. A library that was cut or changed kills the process
// that loads it, so ts/engine/files.ts compares both first.
import {createHash} from "node:crypto";
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";

const folder = process.argv[2];
const manifest = {};
for (const name of ["deltastore.node", "deltastore_loader.node"]) {
    const file = readFileSync(path.join(folder, name));
    manifest[name] = {bytes: file.length, sha256: createHash("sha256").update(file).digest("hex")};
}
writeFileSync(path.join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 4)}\n`);
