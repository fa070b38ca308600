// Takes a release of node-llama-cpp from npm, and its binary for Linux, and unpacks both to build/runtimes/<version>/node_modules. Nothing of it is run, and
// what it needs besides is found in this package's own node_modules. Arguments: versions. Prints their folders.
import {execFileSync} from "node:child_process";
import {existsSync, mkdirSync, renameSync, rmSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

const runtimes = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), "build", "runtimes");

function fetchPackage(folder, name, version) {
    const place = path.join(folder, name), unpacked = path.join(folder, `.unpacked-${process.pid}`);
    if (existsSync(place)) return place;
    try {
        mkdirSync(unpacked, {recursive: true});
        const packed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", unpacked, `${name}@${version}`], {cwd: unpacked, encoding: "utf8"}).trim();
        execFileSync("tar", ["xzf", packed], {cwd: unpacked});
        mkdirSync(path.dirname(place), {recursive: true});
        renameSync(path.join(unpacked, "package"), place);  // so that it appears whole
    } finally {
        rmSync(unpacked, {recursive: true, force: true});
    }
    return place;
}

/**
 * @param binary whether its binary is needed, too; it is large, and headers do without
 * @returns node-llama-cpp's folder
 */
export function fetchRuntime(version, {binary}) {
    const folder = path.join(runtimes, version, "node_modules");
    if (binary) fetchPackage(folder, "@node-llama-cpp/linux-x64", version);
    return fetchPackage(folder, "node-llama-cpp", version);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) for (const version of process.argv.slice(2)) console.log(fetchRuntime(version, {binary: true}));
