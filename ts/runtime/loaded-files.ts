import path from "node:path";
import {Llama, LlamaModel} from "node-llama-cpp";
import {fileHash, stampOf, type FileStamp} from "../models/file-hash.js";
import {partPaths} from "../models/split-files.js";
import type {NativeBinding} from "../engine/native.js";
import type {AddonLora} from "./addon.js";
import {modelInternals, type ModelInternals} from "./internals.js";

/** A file whose contents were loaded. Once it is hashed, later changes of the file do not matter. */
export class LoadedFile {
    readonly path: string;
    readonly bytes: number;
    readonly #stamp: FileStamp;
    #hash: Promise<Uint8Array> | undefined;

    constructor(stamp: FileStamp) {
        this.path = stamp.path;
        this.bytes = stamp.bytes;
        this.#stamp = stamp;
    }

    /** @throws DeltaStoreError MODEL_NOT_FOUND, MODEL_CHANGED: the file is not as it was when it was loaded */
    async hash(native: NativeBinding): Promise<Uint8Array> {
        this.#hash ??= fileHash(native, this.#stamp);
        try {
            return await this.#hash;
        } catch (error) {
            this.#hash = undefined;
            throw error;
        }
    }
}

const load = async (file: string): Promise<LoadedFile> => new LoadedFile(await stampOf(file));
const loadParts = (modelPath: string): Promise<LoadedFile[]> => Promise.all(partPaths(path.resolve(modelPath)).map(load));

const models = new WeakMap<LlamaModel, Promise<LoadedFile[]>>();
const adapters = new WeakMap<AddonLora, Promise<LoadedFile>>();

/** Nobody waits for the files yet: what is wrong with one is told when its hash is asked for. */
function remember<Key extends object, Value>(map: WeakMap<Key, Promise<Value>>, key: Key, files: Promise<Value>): Promise<Value> {
    files.catch(() => undefined);
    map.set(key, files);
    return files;
}

/** A model's files, all parts in order. Of a model that was loaded before this package, they are taken to be as they are now. */
export const filesOf = (model: LlamaModel): Promise<LoadedFile[]> => models.get(model) ?? remember(models, model, loadParts(modelInternals(model)._modelPath));

/** The file of an adapter (LoRA), in the same way. */
export const fileOf = (lora: AddonLora): Promise<LoadedFile> => adapters.get(lora) ?? remember(adapters, lora, load(lora.filePath));

// A file is looked at before it is loaded: so a change while it is loaded is noticed, too. This begins with the package's import, as models
// that are loaded before `attach` count.
const loadModel = Llama.prototype.loadModel;
Llama.prototype.loadModel = async function (options) {
    const modelPath: unknown = options?.modelPath;
    const files = typeof modelPath === "string" ? await loadParts(modelPath).catch(() => null) : null;
    const model = await loadModel.call(this, options);
    if (files !== null) remember(models, model, Promise.resolve(files));
    return model;
};

// A release without the method is refused when a store is attached, see required.ts.
const modelPrototype = LlamaModel.prototype as unknown as ModelInternals, loadLora = modelPrototype._getOrLoadLora as ModelInternals["_getOrLoadLora"] | undefined;
if (loadLora !== undefined) modelPrototype._getOrLoadLora = async function (filePath) {
    const file = await load(path.resolve(filePath)).catch(() => null), lora = await loadLora.call(this, filePath);
    if (file !== null && !adapters.has(lora)) remember(adapters, lora, Promise.resolve(file));  // else it was loaded before
    return lora;
};
