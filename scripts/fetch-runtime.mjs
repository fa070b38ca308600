// Takes a release of node-llama-cpp from npm, with its binary for Linux, and unpacks it to build/runtimes/<version>/node_modules. Nothing of it is run, and
// what it needs besides is found in this package's own node_modules. Arguments: versions. Prints their folders.
import {execFileSync} from "node:child_process";
import {existsSync, mkdirSync, renameSync, rmSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

const runtimes = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), "build", "runtimes");

/** @returns node-llama-cpp's folder */
export function fetchRuntime(version) {
    const folder = path.join(runtimes, version, "node_modules"), target = path.join(folder, "node-llama-cpp");
    if (existsSync(target)) return target;
    for (const name of ["@node-llama-cpp/linux-x64", "node-llama-cpp"]) {  // the folder that is asked for appears last
        const unpacked = path.join(folder, `.unpacked-${process.pid}`), place = path.join(folder, name);
        rmSync(unpacked, {recursive: true, force: true});
        mkdirSync(unpacked, {recursive: true});
        const packed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", unpacked, `${name}@${version}`], {cwd: unpacked, encoding: "utf8"}).trim();
        execFileSync("tar", ["xzf", packed], {cwd: unpacked});
        rmSync(place, {recursive: true, force: true});
        mkdirSync(path.dirname(place), {recursive: true});
        renameSync(path.join(unpacked, "package"), place);
        rmSync(unpacked, {recursive: true, force: true});
    }
    return target;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) for (const version of process.argv.slice(2)) console.log(fetchRuntime(version));
