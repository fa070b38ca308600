import {execFile} from "node:child_process";
import {createHash} from "node:crypto";
import {existsSync, readdirSync, readFileSync} from "node:fs";
import {join} from "node:path";
import {promisify} from "node:util";
import {dist, root} from "./paths.js";

/** What a process did on the mock device: written where CUDA_MOCK_REPORT says. */
export interface MockReport {
    hostToDevice: number;
    deviceToHost: number;
    onDevice: number;
    streamWaits: number;
    eventWaits: number;
    captures: number;
    graphLaunches: number;
    gemms: number;
    /** How often each ran, by mangled name. */
    kernels: Record<string, number>;
}

const {buildOnce} = await import(dist("engine/build-once.js")) as typeof import("../../dist/engine/build-once.js");

/** The library of ggml that asks for this toolkit. */
const libraries = {
    12: "linux-x64-cuda-ext/bins/linux-x64-cuda/fallback/libggml-cuda.so",
    13: "linux-x64-cuda/bins/linux-x64-cuda/libggml-cuda.so"
} as const;

export type Toolkit = keyof typeof libraries;

/**
 * Why there is nothing that the mock could run; false otherwise. npm leaves these packages out on other machines, and with `--omit=optional`.
 * @throws Error if the package is there and has its library elsewhere
 */
export function whyNoCuda(toolkit: Toolkit): string | false {
    const packages = join(root, "node_modules/@node-llama-cpp"), library = libraries[toolkit], owner = library.slice(0, library.indexOf("/"));
    if (!existsSync(join(packages, owner))) return `there is no ${owner}`;
    if (!existsSync(join(packages, library))) throw new Error(`${owner} has no ${library}`);
    return false;
}

const source = join(root, "test/cuda-mock");

/** The mock's sources, and those of its test, tell where it is built, so a folder is never of older ones. */
function sourceVersion(): string {
    const hash = createHash("sha256").update(readFileSync(join(root, "test/native/check.h")));
    for (const file of readdirSync(source, {recursive: true, encoding: "utf8"}).sort())
        if (/(\.cpp|\.h|CMakeLists\.txt)$/.test(file)) hash.update(file).update(readFileSync(join(source, file)));
    return hash.digest("hex").slice(0, 12);
}

/** Builds the mock of test/cuda-mock, once. Resolves to its folder. */
export async function buildCudaMock(): Promise<string> {
    const folder = join(root, "build/cuda-mock", sourceVersion()), test = join(folder, "mock_test");
    const cmake = (...args: string[]) => promisify(execFile)("cmake", args, {maxBuffer: 1 << 26});
    await buildOnce(folder, () => existsSync(test), async (work) => {
        const made = join(work, "made");
        await cmake("-S", source, "-B", made);
        await cmake("--build", made, "--parallel", "2");
        return made;
    });
    return folder;
}

/** The environment in which this toolkit's libraries are the mock's. */
export async function cudaMock(toolkit: Toolkit): Promise<Record<string, string>> {
    const folder = await buildCudaMock();
    return {LD_LIBRARY_PATH: [join(folder, "lib"), join(folder, `cuda-${toolkit}`)].join(":")};
}

export function readMockReport(path: string): MockReport {
    return JSON.parse(readFileSync(path, "utf8")) as MockReport;
}
