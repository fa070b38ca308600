/** A release of node-llama-cpp, and the llama.cpp that it comes with. */
export interface RuntimeRelease {
    nodeLlamaCpp: string;
    llamaCpp: string;
}

/** The releases that were tested, oldest first. Newer ones are tried, see `store/self-test.ts`. */
export const servedRuntimes: readonly RuntimeRelease[] = [
    {nodeLlamaCpp: "3.20.0", llamaCpp: "b10361"},
    {nodeLlamaCpp: "3.21.1", llamaCpp: "v0.4.0"},
    {nodeLlamaCpp: "3.22.0", llamaCpp: "v0.5.0"},
    {nodeLlamaCpp: "3.22.1", llamaCpp: "v0.5.0"}
];

/** One release of node-llama-cpp for each llama.cpp, the newest. What is prebuilt is built with their headers. */
export const prebuiltRuntimes: readonly RuntimeRelease[] = [...new Map(servedRuntimes.map((runtime) => [runtime.llamaCpp, runtime])).values()];
