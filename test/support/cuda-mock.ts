import {spawnSync} from "node:child_process";
import {existsSync, readFileSync} from "node:fs";
import {join} from "node:path";
import {root} from "./paths.js";

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

const folder = join(root, "build/cuda-mock");

/** The library of ggml that asks for this toolkit. */
const libraries = {
    12: "linux-x64-cuda-ext/bins/linux-x64-cuda/fallback/libggml-cuda.so",
    13: "linux-x64-cuda/bins/linux-x64-cuda/libggml-cuda.so"
} as const;

export type Toolkit = keyof typeof libraries;

/** Why there is nothing that the mock could run; false otherwise. npm leaves these packages out on other machines, and with `--omit=optional`. */
export function whyNoCuda(toolkit: Toolkit): string | false {
    const library = join(root, "node_modules/@node-llama-cpp", libraries[toolkit]);
    return existsSync(library) ? false : `there is no ${library}`;
}

/** Builds the mock (test/cuda-mock), once. */
export function buildCudaMock(): void {
    for (const args of [["-S", join(root, "test/cuda-mock"), "-B", folder], ["--build", folder, "--parallel", "2"]]) {
        const {status, stdout, stderr, error} = spawnSync("cmake", args, {encoding: "utf8"});
        if (error !== undefined || status !== 0) throw new Error(`The CUDA mock can't be built: ${error?.message ?? stdout + stderr}`);
    }
}

/** The environment in which this toolkit's libraries are the mock's. */
export function cudaMock(toolkit: Toolkit): Record<string, string> {
    return {LD_LIBRARY_PATH: [join(folder, "lib"), join(folder, `cuda-${toolkit}`)].join(":")};
}

export function readMockReport(path: string): MockReport {
    return JSON.parse(readFileSync(path, "utf8")) as MockReport;
}
