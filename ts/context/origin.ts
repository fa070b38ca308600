import {createHash} from "node:crypto";
import {basename} from "node:path";
import type {LlamaModel} from "node-llama-cpp";
import {toDeltaStoreError} from "../errors.js";
import {fileOf, filesOf, type LoadedFile} from "../runtime/loaded-files.js";
import type {NativeBinding} from "../engine/native.js";
import type {AddonContext, AddonLora} from "../runtime/addon.js";

interface Adapter {
    readonly file: Promise<LoadedFile>;
    readonly scale: number;
}

/**
 * The model and the adapters that one context's rows are made with. The engine is told of them once rows are to be saved or restored: until then
 * nobody pays for hashing a model.
 */
export class Origin {
    readonly #context: AddonContext;
    readonly #native: NativeBinding;
    readonly #files: Promise<readonly LoadedFile[]>;
    readonly #metadata: readonly string[];
    #adapters: readonly Adapter[] = [];
    #known: Promise<void> | undefined;

    constructor(context: AddonContext, native: NativeBinding, model: LlamaModel) {
        this.#context = context;
        this.#native = native;
        this.#files = filesOf(model);
        this.#metadata = scalarsOf(model.fileInfo.metadata).sort();
    }

    /** The adapters of the rows to come. */
    setAdapters(loras: readonly AddonLora[], scales: readonly number[]): void {
        this.#adapters = loras.map((lora, index) => ({file: fileOf(lora), scale: scales[index]!}));
        this.#known = undefined;
    }

    /**
     * Resolves once the engine knows the origin. The first time it hashes files, so call it before you hold the context.
     * @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_CHANGED: a file is not as it was when it was loaded; DISPOSED
     */
    async known(): Promise<void> {
        const known = this.#known ??= this.#tell();
        try {
            await known;
        } catch (error) {
            if (this.#known === known) this.#known = undefined;
            throw toDeltaStoreError(error);
        }
    }

    /** Begins to tell the engine, so that later calls of `known` wait less. */
    begin(): void {
        this.known().catch(() => undefined);
    }

    async #tell(): Promise<void> {
        for (;;) {
            const adapters = this.#adapters, told = [await this.#hashOfModel(), await this.#hashOf(adapters)] as const;
            if (adapters !== this.#adapters) continue;
            return this.#native.setOrigin(this.#context, ...told);
        }
    }

    async #hashOfModel(): Promise<Uint8Array> {
        const hashes = await Promise.all((await this.#files).map((file) => file.hash(this.#native)));
        return hashOf([hashes.map(hexOf), this.#metadata]);
    }

    /** The hash of the adapters that llama.cpp applies: each counts once, their order does not count, and a scale of 0 applies nothing. */
    async #hashOf(adapters: readonly Adapter[]): Promise<Uint8Array> {
        const applied = new Map<LoadedFile, number>();
        for (const {file, scale: given} of adapters) {
            const loaded = await file, scale = Math.fround(given);  // the native context has 32 bits
            if (scale !== 0 && !applied.has(loaded)) applied.set(loaded, scale);
        }
        if (applied.size === 0) return new Uint8Array(hashBytes);
        const described = await Promise.all([...applied].map(async ([file, scale]) => `${hexOf(await file.hash(this.#native))} ${scale}`));
        return hashOf(described.sort());
    }

    /** Turns of version 1 describe adapters by name, size and scale. This describes the context's so. */
    async describeAdapters(): Promise<string> {
        return JSON.stringify(await Promise.all(this.#adapters.map(async ({file, scale}) => {
            const {path, bytes} = await file;
            return [basename(path), bytes, scale];
        })));
    }
}

const hashBytes = 8;

const hexOf = (hash: Uint8Array): string => Buffer.from(hash).toString("hex");
const hashOf = (what: unknown): Uint8Array => createHash("sha256").update(JSON.stringify(what)).digest().subarray(0, hashBytes);

/**
 * A model's metadata as it was loaded, without lists. `metadataOverrides` change it, and the files' hash does not tell that. They can't change
 * lists.
 */
function scalarsOf(value: unknown, key = ""): string[] {
    if (Array.isArray(value)) return [];
    if (typeof value !== "object" || value === null) return [`${key}=${typeof value === "string" ? JSON.stringify(value) : String(value)}`];
    return Object.entries(value).flatMap(([name, item]) => scalarsOf(item, key === "" ? name : `${key}.${name}`));
}
