import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import type {LlamaContext} from "node-llama-cpp";
import type {Test} from "tap";
import {openTiny} from "./tiny-engine.js";

/** A Llama instance, a folder, and contexts whose sequences come and go. */
export async function openShortLives(t: Test) {
    const engine = await openTiny(t, {sharing: {scope: "group"}}), folder = mkdtempSync(join(tmpdir(), "deltastore-lives-"));
    t.teardown(() => rmSync(folder, {recursive: true}));
    const createContext = (kvCache: string, options: object = {}): Promise<LlamaContext> =>
        engine.model.createContext({contextSize: 1024, threads: 1, flashAttention: true, kvCache, batchSize: 128, ...options});
    return {...engine, folder, createContext};
}
