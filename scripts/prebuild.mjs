// Builds the engine and puts it where an installed package looks first: prebuilds/<platform>-<arch>.
import {execFileSync} from "node:child_process";
import {copyFileSync, mkdirSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const target = path.join(root, "prebuilds", `${process.platform}-${process.arch}`);
execFileSync("npx", ["cmake-js", "compile", "--out", "build/native", "--parallel", "2"], {cwd: root, stdio: "inherit"});
mkdirSync(target, {recursive: true});
for (const name of ["deltastore.node", "deltastore_loader.node"]) {
    copyFileSync(path.join(root, "build", "native", "Release", name), path.join(target, name));
    execFileSync("strip", ["--strip-unneeded", path.join(target, name)]);
}
execFileSync(process.execPath, [path.join(root, "scripts", "engine-manifest.mjs"), target]);  // after strip, which changes them
console.log(`Prebuilt engine in ${target}`);
