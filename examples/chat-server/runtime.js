import {existsSync, readFileSync} from "node:fs";
import {homedir} from "node:os";
import {join} from "node:path";
import {attach, loadPolicy} from "llama-deltastore";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

/** @typedef {Awaited<ReturnType<typeof openRuntime>>} Runtime */

/**
 * One context for all conversations.
 * @param {import("./options.js").Options} options
 */
export async function openRuntime({model: modelPath = cachedModel(), policy, poolLimit, threads, sequences, contextSize, turns: place}) {
    const policyWithLimit = limited(policy, poolLimit);
    const llama = await getLlama({gpu: false, maxThreads: threads, logLevel: LlamaLogLevel.error});
    try {
        const store = await attach(llama, policyWithLimit === undefined ? {} : {policy: policyWithLimit});
        const model = await llama.loadModel({modelPath, gpuLayers: 0});
        const context = await model.createContext({contextSize, threads, sequences: sequences + 1});  // one holds the system prompt
        const turns = place === undefined ? null : await store.openTurns({store: place});
        return {
            store, model, context, turns,
            async close() {
                await context.dispose();
                await turns?.close();
                await llama.dispose();
            }
        };
    } catch (error) {
        await llama.dispose();
        throw error;
    }
}

function cachedModel() {
    const folder = process.env["DELTASTORE_CACHE"] || join(homedir(), ".cache", "llama-deltastore");
    const path = join(folder, "SmolLM2-135M-Instruct.Q4_1.gguf");
    if (existsSync(path)) return path;
    throw new Error(`There is no model at ${path}. Run "npx deltastore demo" once to fetch it, or give one with --model`);
}

/**
 * @param {string | undefined} policy
 * @param {string | undefined} limit
 * @returns {string | import("llama-deltastore").PolicyFile | undefined}
 */
function limited(policy, limit) {
    loadPolicy(policy);  // tells mistakes of a file with their places
    if (limit === undefined) return policy;
    const file = policy === undefined ? {} : existsSync(policy) ? JSON.parse(readFileSync(policy, "utf8")) : {default: policy};
    return {...file, pool: {...file.pool, limit}};
}
