import {getModuleVersion} from "node-llama-cpp";

const version = (await getModuleVersion()).split(".").map(Number);

/** Whether the installed node-llama-cpp is at least this release. Tests run on older ones, too, see test/runtimes. */
export function isAtLeast(...release: number[]): boolean {
    for (const [index, part] of release.entries()) if (version[index] !== part) return version[index]! > part;
    return true;
}
