import {createRequire} from "node:module";
import path from "node:path";
import {fileURLToPath} from "node:url";
import {inspect} from "node:util";
import {Llama, type LlamaContext, type LlamaContextOptions, type LlamaContextSequence, type LlamaDecisionContext, type LlamaDecisionContextOptions} from "node-llama-cpp";
import "./create-context.js";
import {binaryFolder, packageRoot} from "../engine/files.js";
import {DeltaStoreError, isUnsupported, toDeltaStoreError} from "../errors.js";
import {loadNative} from "../engine/load.js";
import type {NativeBinding} from "../engine/native.js";
import {invalid, isRecord} from "../options.js";
import {loadPolicy} from "../policy/load.js";
import {didYouMean, quoteList} from "../nearest.js";
import type {PolicyFile} from "../policy/policy-file.js";
import {builtInTiers} from "../policy/tiers.js";
import {checkRuntime} from "../runtime/release.js";
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
 * Of node-llama-cpp's own method, which is the first of a name; others are what is declared above and by other packages. TypeScript infers from the
 * last on, and from the first for all that are left.
 */
type OptionsOfFirst<F> = F extends {(options?: infer O): unknown; (...others: never): unknown; (...others: never): unknown; (...others: never): unknown}
    ? NonNullable<O> : never;

/** What `context.getSequence` takes. */
export interface SequenceOptions extends OptionsOfFirst<LlamaContext["getSequence"]> {
    /** The sequence's tier; if absent, what the policy's rules say, or the context's. */
    kvCache?: Exclude<KvCache, "stock">;
    /** What the policy's rules may go by. Sequences may have the same. */
    name?: string;
    /**
     * The sequence shares prefixes by itself only with those of the same group. Without one it shares with all others that have none, or, with
     * the policy's `sharing.scope` "group", with nobody.
     */
    sharingGroup?: string;
}

/** Built-in tiers, "stock", or a tier of the policy. */
export type KvCache = "exact" | "high" | "conservative" | "compact" | "recommended" | "balanced" | "aggressive" | "ultra" | "stock" | (string & {});

export interface AttachOptions {
    /** A policy, the path of a policy file, or a tier's name. Without it contexts get the tier "high". */
    policy?: string | PolicyFile;
    /** What to do where the package can't serve, or where the app names no tier, but asks for what only stock's cache has; overrides the policy's field. */
    onUnsupported?: "error" | "stock";
}

/**
 * Gives the contexts that this Llama instance's models create from now on a packed KV cache, in place of the store that was attached
 * to it before, if any; a failure leaves that one there.
 *
 * Until the store is disposed, `llama.loadModel` checks the model's files first (their headers, and that no part is cut off) and throws
 * DeltaStoreError MODEL_NOT_FOUND or MODEL_DAMAGED; its other errors are node-llama-cpp's.
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
        await checkRuntime(llama);
        native = await loadNative();
        if (native.llamaCppRelease !== llama.llamaCppRelease.release)
            throw new DeltaStoreError("BINARY_MISSING", `The engine was built for llama.cpp ${native.llamaCppRelease}; this is ` +
                `${llama.llamaCppRelease.release}. Delete ${binaryFolder()} to have it built again`);
        native.install();
    } catch (error) {
        const typed = toDeltaStoreError(error);
        if (policy.onUnsupported !== "stock" || !isUnsupported(typed)) throw typed;
        native = null;  // it may be loaded, and refused
        process.emitWarning(`llama-deltastore uses the stock cache: ${typed.message}`, {code: `DELTASTORE_${typed.code}`});
    }
    storeOf(llama)?.dispose();
    return new DeltaStore(llama, policy, native);
}

/** The app's copy is looked for from the script that the process was started with. */
function otherCopy(): DeltaStoreError {
    const folderOf = (file: string) => path.resolve(file, "../..");
    let others = "another copy of node-llama-cpp";
    try {
        others += `, ${folderOf(createRequire(path.resolve(process.argv[1] ?? "app")).resolve("node-llama-cpp"))},`;
    } catch {
        // A bundle, or an app that gets it from elsewhere.
    }
    return new DeltaStoreError("RUNTIME_UNSUPPORTED", `The Llama instance is of ${others} than llama-deltastore's, ` +
        `${folderOf(fileURLToPath(import.meta.resolve("node-llama-cpp")))}. A linked folder (npm link) brings a copy of its own: ` +
        `\`npm install --install-links ${packageRoot}\` in the app makes it one; else \`npm ls node-llama-cpp\` lists them`);
}

const optionNames = ["policy", "onUnsupported"] as const satisfies (keyof AttachOptions)[];
const onUnsupportedValues = ["error", "stock"];

function checkArguments(llama: unknown, options: unknown): asserts options is AttachOptions {
    // Not by its class: that of an unsupported node-llama-cpp, or of another copy, has codes of its own.
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
