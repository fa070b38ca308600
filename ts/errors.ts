/** Every error of the package: a stable code, what it means, and what to do about it. */
export const errorCodes = {
    POLICY_INVALID: "The policy has mistakes; each is listed with its JSON pointer, the value and what is allowed.",
    POLICY_NOT_FOUND: "The policy file can't be read. Check the path in `policy` or DELTASTORE_POLICY.",
    PLAN_INVALID: "The scenario of `plan` has mistakes; each is listed with its JSON pointer, the value and what is allowed.",
    PLAN_NOT_FOUND: "The scenario file can't be read. Check the path.",
    TIER_UNKNOWN: "No tier has this name. Use a built-in tier, one of the policy's, or \"stock\".",
    OPTION_INVALID: "An argument or option has a name or value that isn't allowed. The message tells what was given and what is allowed.",
    NOT_ATTACHED: "A tier was asked for, but this Llama instance has no store. Call `attach(llama)` before `createContext`.",
    RUNTIME_UNSUPPORTED: "This node-llama-cpp or llama.cpp release is not served: too old, changed in what this package relies on, failed in its self-test, or not the copy that this package has. The message says which, and what to install.",
    PLATFORM_UNSUPPORTED: "There is no engine for this platform. Use `onUnsupported: \"stock\"` to keep the stock cache.",
    BINARY_MISSING: "The native engine is missing or damaged, and can't be built here. The message says which file, and what to install or delete.",
    MODEL_NOT_FOUND: "The model file, a part of a split model, or an adapter (LoRA), can't be found or read. Check `modelPath`.",
    MODEL_DAMAGED: "The model file, or a part of a split model, is not a whole GGUF file. Fetch it again.",
    MODEL_CHANGED: "A file of the model, or of an adapter (LoRA), was replaced or changed after it was loaded and before rows made with it were first saved or restored. Load the model again.",
    MODEL_DOWNLOAD_FAILED: "No source gave the model. The message lists each source and its answer.",
    MODEL_UNSUPPORTED: "The package can't serve this model's kind of memory. Use `onUnsupported: \"stock\"` to keep the stock cache.",
    GPU_LAYERS_UNSUPPORTED: "Layers of this model are on a GPU, and the policy's `gpuLayers` is \"error\". Set it to \"host\" or \"stock\", or load the model with `gpuLayers: 0`.",
    FLASH_ATTENTION_REQUIRED: "The packed cache lives inside flash attention. Don't turn `flashAttention` off for this context.",
    KV_CACHE_TYPE_CONFLICT: "The tier and the cache types that `createContext` or `loadModel` was given exclude each other. Set `kvCache: \"stock\"` for a cache of those types, or do as the message says.",
    POOL_LIMIT_REACHED: "The request needs more pages than the policy's pool limit allows. The sequences keep what they had. Dispose others, or raise the limit. A limit without room for a single token is told when the context is created.",
    CONTEXT_FULL: "The batch doesn't fit in what is left of the context.",
    OUT_OF_MEMORY: "The system gave no memory for pages. The sequences keep what they had.",
    SHIFT_UNSUPPORTED: "This model's positions can't be shifted. Evaluate the tokens again instead.",
    STATE_DAMAGED: "The state file is cut short or changed. The sequence is empty; evaluate its tokens again.",
    STATE_FOREIGN: "The file is not a state of this package. The sequence is empty; evaluate its tokens again.",
    STATE_MODEL_MISMATCH: "The state file is of another model, of other position settings or of other adapters (LoRA); the message says which. The sequence is empty; evaluate its tokens again.",
    STATE_FORMAT_MISMATCH: "The state file is of a context that packs rows and this one keeps them all F16, or the other way round; or it was saved with a llama.cpp whose state files this one doesn't read. After loading a state file, the sequence is empty; evaluate its tokens again.",
    STATE_TOO_LARGE: "The state holds more tokens than this sequence can. After loading a state file, the sequence is empty; evaluate its tokens again.",
    STATE_NOT_FOUND: "The state file can't be read. The sequence is empty; evaluate its tokens again.",
    STATE_WRITE_FAILED: "The state file can't be written: disk full, no permission, no such folder. What had its name before is as it was, and so is the sequence.",
    STORE_FAILED: "The store of turns can't be opened, read or written: disk full, no permission, no connection. What was saved before stays; the app can go on by evaluating.",
    STORE_KEY_WRONG: "The store's turns are encrypted with another key, or with none. Give the key that they were saved with.",
    TURN_NOT_FOUND: "The store has no such conversation or turn. Evaluate the tokens.",
    TURN_DAMAGED: "A turn, or an object that it needs, is damaged or missing. Go back to an earlier turn, or evaluate the tokens again.",
    TURN_FOREIGN: "The turn was saved by a version of this package that this one can't read.",
    TURN_MODEL_MISMATCH: "The turn was saved with another model, other adapters (LoRA) or other position settings; the message says which. Evaluate its tokens again.",
    CODEC_UNTRAINED: "The codec has to learn from more rows of the model than the store has. Save longer conversations first, or take a codec that learns nothing: \"channel\" or \"tokens\".",
    DISPOSED: "The store, the context or the Llama instance was disposed.",
    NATIVE_FAILURE: "The engine failed in an unexpected way; the message has the details."
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof errorCodes;

export class DeltaStoreError extends Error {
    readonly code: ErrorCode;
    /** For POLICY_INVALID and PLAN_INVALID: every problem found. */
    readonly problems: readonly string[];

    constructor(code: ErrorCode, message: string, options: {cause?: unknown; problems?: readonly string[]} = {}) {
        super(message, options.cause === undefined ? undefined : {cause: options.cause});
        this.name = "DeltaStoreError";
        this.code = code;
        this.problems = options.problems ?? [];
    }
}

const unsupportedCodes: readonly ErrorCode[] = [
    "MODEL_UNSUPPORTED", "GPU_LAYERS_UNSUPPORTED", "FLASH_ATTENTION_REQUIRED", "PLATFORM_UNSUPPORTED", "RUNTIME_UNSUPPORTED", "BINARY_MISSING"
];

/** Whether the package can't serve this model or this machine. Else only a request failed. */
export const isUnsupported = (error: unknown): error is DeltaStoreError =>
    error instanceof DeltaStoreError && unsupportedCodes.includes(error.code);

/** Turns an error that carries one of our codes (thrown by the addon) into a DeltaStoreError. */
export function toDeltaStoreError(error: unknown): unknown {
    if (error instanceof DeltaStoreError) return error;
    const code = (error as {code?: unknown} | null)?.code;
    if (typeof code === "string" && code in errorCodes)
        return new DeltaStoreError(code as ErrorCode, (error as Error).message, {cause: error});
    return error;
}
