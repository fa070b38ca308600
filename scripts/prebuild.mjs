// Builds the engine once, and the plugin for each llama.cpp that is served, and puts them where an installed package looks first:
// prebuilds/<platform>-<arch>/<llama.cpp release>. Headers are those of the node-llama-cpp releases of dist/runtime/served.js.
import {execFileSync} from "node:child_process";
import {copyFileSync, mkdirSync, rmSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";
import {prebuiltRuntimes} from "../dist/runtime/served.js";
import {fetchRuntime} from "./fetch-runtime.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const prebuilds = path.join(root, "prebuilds", `${process.platform}-${process.arch}`);
const runtimes = prebuiltRuntimes.map(({nodeLlamaCpp, llamaCpp}) => ({release: llamaCpp, folder: fetchRuntime(nodeLlamaCpp, {binary: false})}));
execFileSync("npm", ["run", "build:native"], {
    cwd: root, stdio: "inherit", env: {...process.env, DELTASTORE_RUNTIMES: runtimes.map(({folder}) => folder).join(":")}
});
rmSync(prebuilds, {recursive: true, force: true});
for (const {release, folder} of runtimes) {
    const target = path.join(prebuilds, release);
    mkdirSync(target, {recursive: true});
    for (const name of ["deltastore.node", "deltastore_loader.node"]) {
        copyFileSync(path.join(root, "build", "native", "Release", release, name), path.join(target, name));
        execFileSync("strip", ["--strip-unneeded", path.join(target, name)]);
    }
    execFileSync(process.execPath, [path.join(root, "scripts", "engine-manifest.mjs"), target, folder]);  // after strip, which changes them
    console.log(`Prebuilt engine in ${target}`);
}
