import {existsSync} from "node:fs";
import {getModuleVersion, type Llama} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";

/** The releases that this build knows. The engine reads their private structures, so all others are refused. */
export const supportedRuntimes: readonly {nodeLlamaCpp: string; llamaCpp: string}[] = [{nodeLlamaCpp: "3.22.1", llamaCpp: "v0.5.0"}];

export const supportedPlatforms: readonly string[] = ["linux-x64"];

/** Checks all that can be checked before native code runs. @throws DeltaStoreError PLATFORM_UNSUPPORTED, RUNTIME_UNSUPPORTED */
export async function checkRuntime(llama: Llama): Promise<void> {
    const platform = `${process.platform}-${process.arch}`;
    if (!supportedPlatforms.includes(platform) || isMusl())
        throw new DeltaStoreError("PLATFORM_UNSUPPORTED",
            `The engine runs on ${supportedPlatforms.join(", ")} with glibc; this is ${platform}${isMusl() ? " with musl" : ""}`);
    const version = await getModuleVersion();
    const release = llama.llamaCppRelease.release;
    if (supportedRuntimes.some((known) => known.nodeLlamaCpp === version && known.llamaCpp === release)) return;
    const known = supportedRuntimes.map(({nodeLlamaCpp, llamaCpp}) => `node-llama-cpp ${nodeLlamaCpp} with llama.cpp ${llamaCpp}`);
    throw new DeltaStoreError("RUNTIME_UNSUPPORTED",
        `This is node-llama-cpp ${version} with llama.cpp ${release}; supported: ${known.join(", ")}`);
}

function isMusl(): boolean {
    return process.platform === "linux" && existsSync("/etc/alpine-release");
}
