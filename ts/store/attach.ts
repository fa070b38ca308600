import {createRequire} from "node:module";
import path from "node:path";
import {fileURLToPath} from "node:url";
import {inspect} from "node:util";
import {Llama, type LlamaContext, type LlamaContextOptions, type LlamaContextSequence, type LlamaDecisionContext, type LlamaDecisionContextOptions} from "node-llama-cpp";
import "./create-context.js";
import {packageRoot} from "../engine/files.js";
import {DeltaStoreError, isUnsupported, toDeltaStoreError} from "../errors.js";
import {engineFolder, loadNative} from "../engine/load.js";
import type {NativeBinding} from "../engine/native.js";
import {invalid, isRecord} from "../options.js";
import {loadPolicy} from "../policy/load.js";
import {didYouMean, quoteList} from "../nearest.js";
import type {PolicyFile} from "../policy/policy-file.js";
import {builtInTiers} from "../policy/tiers.js";
import {checkRuntime} from "../runtime/release.js";
import {requireInternals} from "../runtime/required.js";
import {tryRuntime} from "./self-test.js";
import {DeltaStore, storeOf} from "./store.js";

declare module "node-llama-cpp" {
    interface LlamaModel {
        /** `kvCache`: a tier of the attached policy, or "stock" for node-llama-cpp's own cache. */
        createContext(options?: LlamaContextOptions & {kvCache?: KvCache}): Promise<LlamaContext>;
        /** `kvCache`: as createContext's. */
        createDecisionContext(options?: LlamaDecisionContextOptions & {kvCache?: KvCache}): Promise<LlamaDecisionContext>;
    }
    interface LlamaContext {
        getSequence(options?: SequenceOptions): LlamaContextSequence;
    }
}

/**
 * The options of a method's first declaration, which is node-llama-cpp's own. The others are those above, and other packages'. TypeScript infers
 * overloads from the last on, and gives the first to all that are left.
 */
type OptionsOfFirst<F> = F extends {(options?: infer O): unknown; (...others: never): unknown; (...others: never): unknown; (...others: never): unknown}
    ? NonNullable<O> : never;

/** What `context.getSequence` takes. */
export interface SequenceOptions extends OptionsOfFirst<LlamaContext["getSequence"]> {
    /** The sequence's tier. If absent, the policy's rules decide, or else it is the context's. */
    kvCache?: Exclude<KvCache, "stock">;
    /** The policy's rules may go by it. Several sequences may have the same name. */
    name?: string;
    /**
     * The sequence shares prefixes automatically only with those of the same group. Without a group it shares with all others that have none; with
     * the policy's `sharing.scope` "group" it shares with nobody.
     */
    sharingGroup?: string;
}

/** Built-in tiers, "stock", or a tier of the policy. */
export type KvCache = "exact" | "high" | "conservative" | "compact" | "recommended" | "balanced" | "aggressive" | "ultra" | "stock" | (string & {});

export interface AttachOptions {
    /** A policy, the path of a policy file, or a tier's name. If absent, contexts get the tier "high". */
    policy?: string | PolicyFile;
    /**
     * What to do where the package can't serve, or where the app names no tier and asks for what only stock's cache has. Overrides the policy's field.
     */
    onUnsupported?: "error" | "stock";
}

/**
 * Gives a packed KV cache to all contexts that this Llama instance's models create from now on. The new store takes the place of the one that
 * was attached before. A failure leaves that one there.
 *
 * Until the store is disposed, `llama.loadModel` checks the model's files first: their headers, and that no part is cut off. It throws
 * DeltaStoreError MODEL_NOT_FOUND or MODEL_DAMAGED then. Its other errors are node-llama-cpp's.
 * @throws DeltaStoreError OPTION_INVALID, POLICY_INVALID, POLICY_NOT_FOUND, TIER_UNKNOWN, DISPOSED; with `onUnsupported: "error"` also
 *     PLATFORM_UNSUPPORTED, RUNTIME_UNSUPPORTED, BINARY_MISSING
 */
export async function attach(llama: Llama, options: AttachOptions = {}): Promise<DeltaStore> {
    checkArguments(llama, options);
    const loaded = loadPolicy(options.policy);
    const policy = options.onUnsupported === undefined ? loaded : {...loaded, onUnsupported: options.onUnsupported};
    if (llama.disposed) throw new DeltaStoreError("DISPOSED", "The Llama instance is disposed");
    let native: NativeBinding | null = null;
    try {
        if (!(llama instanceof Llama)) throw otherCopy();
        const runtime = await checkRuntime(llama);
        requireInternals(llama, runtime);
        if (!runtime.tested) await tryRuntime(llama, runtime);
        native = await loadNative(runtime.llamaCpp);
        if (native.llamaCppRelease !== runtime.llamaCpp)
            throw new DeltaStoreError("BINARY_MISSING", `The engine was built for llama.cpp ${native.llamaCppRelease}; this is ` +
                `${runtime.llamaCpp}. Delete ${engineFolder()} to have it built again`);
        native.install();
    } catch (error) {
        const typed = toDeltaStoreError(error);
        if (policy.onUnsupported !== "stock" || !isUnsupported(typed)) throw typed;
        native = null;  // it may have been loaded before it was refused
        process.emitWarning(`llama-deltastore uses the stock cache: ${typed.message}`, {code: `DELTASTORE_${typed.code}`});
    }
    storeOf(llama)?.dispose();
    return new DeltaStore(llama, policy, native);
}

/** Looks for the app's copy from the script that the process was started with. */
function otherCopy(): DeltaStoreError {
    const folderOf = (file: string) => path.resolve(file, "../..");
    let others = "another copy of node-llama-cpp";
    try {
        others += `, ${folderOf(createRequire(path.resolve(process.argv[1] ?? "app")).resolve("node-llama-cpp"))},`;
    } catch {
        // The app is a bundle, or gets its copy from elsewhere.
    }
    return new DeltaStoreError("RUNTIME_UNSUPPORTED", `The Llama instance is of ${others} than llama-deltastore's, ` +
        `${folderOf(fileURLToPath(import.meta.resolve("node-llama-cpp")))}. A linked folder (npm link) brings a copy of its own: ` +
        `\`npm install --install-links ${packageRoot}\` in the app makes it one; else \`npm ls node-llama-cpp\` lists them`);
}

const optionNames = ["policy", "onUnsupported"] as const satisfies (keyof AttachOptions)[];
const onUnsupportedValues = ["error", "stock"];

function checkArguments(llama: unknown, options: unknown): asserts options is AttachOptions {
    // The class is not asked: one of an unsupported node-llama-cpp, or of another copy, gets an error code of its own.
    if (typeof (llama as Partial<Llama> | null | undefined)?.llamaCppRelease?.release !== "string")
        throw invalid(`attach needs what getLlama() resolves to; given was ${inspect(llama, {depth: -1})}` +
            (llama instanceof Promise ? ". Write attach(await getLlama())" : ""));
    if (typeof options === "string")
        throw invalid(`attach's second argument is ${JSON.stringify(options)}. Write attach(llama, {policy: ${JSON.stringify(options)}})`);
    if (typeof options !== "object" || options === null || Array.isArray(options))
        throw invalid(`attach's second argument is ${inspect(options, {depth: -1})}; allowed is an object with ${quoteList(optionNames)}`);
    for (const name of Object.keys(options)) {
        if (!(optionNames as readonly string[]).includes(name))
            throw invalid(`attach has no option ${JSON.stringify(name)}; allowed are ${quoteList(optionNames)}${didYouMean(name, optionNames)}`);
    }
    const {policy, onUnsupported} = options as {policy?: unknown; onUnsupported?: unknown};
    if (policy !== undefined && typeof policy !== "string" && !isRecord(policy))
        throw invalid(`policy is ${inspect(policy, {depth: 0})}; allowed are a policy, the path of a policy file, or a tier's name: ` +
            quoteList([...builtInTiers.keys()]));
    if (onUnsupported !== undefined && !onUnsupportedValues.includes(onUnsupported as string))
        throw invalid(`onUnsupported is ${inspect(onUnsupported)}; allowed are ${quoteList(onUnsupportedValues)}`);
}
