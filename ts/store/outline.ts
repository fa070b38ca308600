import {execFile} from "node:child_process";
import {fileURLToPath} from "node:url";
import {nativeTier} from "../context/pack.js";
import type {ModelOutline} from "../engine/native.js";
import {DeltaStoreError, type ErrorCode} from "../errors.js";
import type {Tier} from "../policy/tiers.js";

const program = fileURLToPath(new URL("./outline-process.js", import.meta.url));
/** Milliseconds. A header with a large vocabulary takes a few seconds on a slow machine. */
const limit = 300_000;

/**
 * What llama.cpp makes of a model, from its files' headers, and whether a packed cache of the tier serves it. llama.cpp aborts on some headers that make no
 * sense. So another process asks it.
 * @param path of the model's only file, or of its first
 * @throws DeltaStoreError MODEL_UNSUPPORTED if llama.cpp can't load it, or the runtime's errors
 */
export async function outlineModel(path: string, tier: Tier): Promise<ModelOutline> {
    const {failure, stdout, stderr} = await run([program, path, JSON.stringify(nativeTier(tier))]);
    const answer = answerOf(stdout);
    if (answer?.outline !== undefined) return answer.outline;
    if (answer?.error !== undefined) throw new DeltaStoreError(answer.error.code, answer.error.message);
    if (failure?.signal) {
        throw new DeltaStoreError("MODEL_UNSUPPORTED", failure.killed ? `llama.cpp did not come to an end with its header in ${limit / 1000} seconds`
            : `llama.cpp ends its process (${failure.signal}) on its header: ${causeIn(stderr)}`);
    }
    throw new DeltaStoreError("NATIVE_FAILURE", `The process that reads the header gave no answer: ${causeIn(stderr)}`);
}

interface Ended {
    failure: {signal?: string | null; killed?: boolean} | null;
    stdout: string;
    stderr: string;
}

function run(args: string[]): Promise<Ended> {
    const env = {...process.env, NODE_OPTIONS: ""};
    return new Promise((resolve) => {
        execFile(process.execPath, args, {env, timeout: limit, maxBuffer: 1 << 26}, (error, stdout, stderr) => {
            resolve({failure: error as Ended["failure"], stdout, stderr});
        });
    });
}

function answerOf(stdout: string): {outline?: ModelOutline; error?: {code: ErrorCode; message: string}} | null {
    const line = stdout.trimEnd().split("\n").at(-1)!;
    return line.startsWith("{") ? JSON.parse(line) : null;
}

/** What a process said of its end: the first line that looks like it, or its last. */
function causeIn(text: string): string {
    const lines = text.trim().split("\n");
    return lines.find((line) => /assert|abort|error/i.test(line)) ?? (lines.at(-1) || "it said nothing");
}
