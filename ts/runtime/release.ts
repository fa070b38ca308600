import {existsSync} from "node:fs";
import {getModuleVersion, type Llama} from "node-llama-cpp";
import {installedRelease} from "../engine/installed.js";
import {DeltaStoreError} from "../errors.js";
import {servedRuntimes, type RuntimeRelease} from "./served.js";

export const supportedPlatforms: readonly string[] = ["linux-x64"];

export interface FoundRuntime extends RuntimeRelease {
    /** Whether it is among `servedRuntimes`. Others are newer, and have to pass a self-test. */
    tested: boolean;
}

/** Checks all that can be checked before native code runs. @throws DeltaStoreError PLATFORM_UNSUPPORTED, RUNTIME_UNSUPPORTED */
export async function checkRuntime(llama: Llama): Promise<FoundRuntime> {
    const platform = `${process.platform}-${process.arch}`;
    if (!supportedPlatforms.includes(platform) || isMusl())
        throw new DeltaStoreError("PLATFORM_UNSUPPORTED",
            `The engine runs on ${supportedPlatforms.join(", ")} with glibc; this is ${platform}${isMusl() ? " with musl" : ""}`);
    const runtime = {nodeLlamaCpp: await getModuleVersion(), llamaCpp: llama.llamaCppRelease.release}, own = installedRelease();
    if (own !== null && own !== runtime.llamaCpp)
        throw new DeltaStoreError("RUNTIME_UNSUPPORTED", `${nameOf(runtime)} is served only with the llama.cpp ${own} that it comes with. ` +
            "getLlama({build: \"never\"}) takes that one, unless another one was downloaded with `npx node-llama-cpp source`; `npx node-llama-cpp source clear` undoes this");
    const [oldest, newest] = [servedRuntimes[0]!, servedRuntimes.at(-1)!];
    if (isBefore(runtime.nodeLlamaCpp, oldest.nodeLlamaCpp) || majorOf(runtime.nodeLlamaCpp) > majorOf(newest.nodeLlamaCpp))
        throw new DeltaStoreError("RUNTIME_UNSUPPORTED", `${nameOf(runtime)} is not served. ${whatToInstall()}`);
    return {...runtime, tested: servedRuntimes.some((one) => one.nodeLlamaCpp === runtime.nodeLlamaCpp && one.llamaCpp === runtime.llamaCpp)};
}

export const nameOf = ({nodeLlamaCpp, llamaCpp}: RuntimeRelease): string => `node-llama-cpp ${nodeLlamaCpp} with llama.cpp ${llamaCpp}`;

/** What to do about a release that is not served. */
export function whatToInstall(): string {
    const versions = servedRuntimes.map(({nodeLlamaCpp}) => nodeLlamaCpp), newest = versions.at(-1)!;
    return `Served are ${versions.slice(0, -1).join(", ")} and ${newest}; newer releases of ${majorOf(newest)}.x are tried. ` +
        `Install one of them (npm install node-llama-cpp@${newest}), or a newer llama-deltastore`;
}

const majorOf = (version: string): number => Number.parseInt(version, 10);

function isBefore(version: string, other: string): boolean {
    const [left, right] = [version, other].map((one) => one.split(".").map((part) => Number.parseInt(part, 10)));
    for (const [index, part] of right!.entries()) if (left![index] !== part) return (left![index] ?? 0) < part;
    return false;
}

function isMusl(): boolean {
    return process.platform === "linux" && existsSync("/etc/alpine-release");
}
