import {fork} from "node:child_process";
import {createHash} from "node:crypto";
import {existsSync} from "node:fs";
import {writeFile} from "node:fs/promises";
import path from "node:path";
import {fileURLToPath} from "node:url";
import type {Llama} from "node-llama-cpp";
import {engineHash} from "../engine/files.js";
import {installedHeaders} from "../engine/installed.js";
import {readyEngine} from "../engine/load.js";
import {DeltaStoreError} from "../errors.js";
import {makeFolder} from "../make-folder.js";
import {defaultCacheFolder} from "../models/fetch.js";
import {nameOf, whatToInstall, type FoundRuntime} from "../runtime/release.js";

/** The largest KL divergence of tier `exact` from the stock cache that passes, in nats. */
export const mostDivergence = 1e-4;

/** Set in the process of the self-test: there, a store is attached without it. */
export const selfTestVariable = "DELTASTORE_SELF_TEST";
const mostMilliseconds = 120_000;

/** What self-test-process.ts sends. */
export type SelfTestResult = {divergences: Record<string, number>} | {error: string};

const passed = new Set<string>();

/**
 * Tries a release that this build wasn't tested with. The engine is built with that release's own headers, which fails where one of its parts is gone.
 * Then another process compares models of random weights on the engine with the stock cache: what goes wrong there ends that process, not this one. A
 * pass is remembered in the cache folder, for this engine and this release.
 * @throws DeltaStoreError RUNTIME_UNSUPPORTED
 */
export async function tryRuntime(llama: Llama, runtime: FoundRuntime): Promise<void> {
    const refuse = (reason: string, cause?: unknown) => new DeltaStoreError("RUNTIME_UNSUPPORTED",
        `${nameOf(runtime)} is newer than this llama-deltastore, and can't be served: ${reason.replace(/\.?$/, ".")} ${whatToInstall()}`, {cause});
    const headers = installedHeaders();
    if (headers === null) throw refuse("its folder llama/addon can't be read");
    let folder: string;
    try {
        folder = await readyEngine(runtime.llamaCpp);
    } catch (error) {
        throw refuse((error as Error).message, error);
    }
    if (process.env[selfTestVariable] !== undefined) return;
    const what = [engineHash(folder), headers, runtime.nodeLlamaCpp, runtime.llamaCpp, String(llama.gpu), llama.buildType].join("\n");
    const key = createHash("sha256").update(what).digest("hex").slice(0, 32), record = path.join(defaultCacheFolder(), "self-tests", key);
    if (passed.has(key) || existsSync(record)) return;
    const result = await runSelfTest(llama.gpu);
    if ("error" in result) throw refuse(`its self-test failed: ${result.error}`);
    for (const [kind, divergence] of Object.entries(result.divergences))
        if (!(divergence < mostDivergence)) throw refuse(`in its self-test, the tier exact diverges by ${divergence} nats from the stock cache (${kind}); ${mostDivergence} is allowed`);
    passed.add(key);
    // Where it can't be written, the next process tests again.
    await makeFolder(path.dirname(record)).then(() => writeFile(record, `${what}\n${JSON.stringify(result.divergences)}\n`)).catch(() => undefined);
}

async function runSelfTest(gpu: Llama["gpu"]): Promise<SelfTestResult> {
    const script = fileURLToPath(new URL("./self-test-process.js", import.meta.url));
    const child = fork(script, [JSON.stringify(gpu)], {execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"], env: {...process.env, NODE_OPTIONS: "", [selfTestVariable]: "1"}});
    let said = "", result: SelfTestResult | undefined;
    child.stderr!.setEncoding("utf8").on("data", (text: string) => said = (said + text).slice(-1000));
    child.on("message", (message) => result = message as SelfTestResult);
    let late = false;
    const timer = setTimeout(() => {
        late = true;
        child.kill("SIGKILL");
    }, mostMilliseconds);
    const end = await new Promise<string>((resolve) => {
        child.on("error", (error) => resolve(error.message));
        child.on("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    clearTimeout(timer);
    if (late) return {error: `it did not come to an end in ${mostMilliseconds / 1000} seconds`};
    return result ?? {error: `its process ended with ${end}${said === "" ? "" : `: ${said.trim()}`}`};
}
