import {Llama, type GgmlType} from "node-llama-cpp";
import type {AddonContextClass} from "./addon.js";
import {DeltaStoreError} from "../errors.js";
import {llamaInternals, type LlamaFactory} from "./internals.js";
import {whatToInstall} from "./release.js";

/** The class of the native contexts that this Llama instance makes. */
export const contextClassOf = (llama: Llama): AddonContextClass => llamaInternals(llama)._bindings.AddonContext;

export function setContextClass(llama: Llama, contextClass: AddonContextClass): void {
    llamaInternals(llama)._bindings.AddonContext = contextClass;
}

/** @param type llama.cpp's name or number of it */
export const ggmlTypeOf = (llama: Llama, type: unknown): GgmlType | undefined => llamaInternals(llama)._bindings.getGgmlType(type);

/** Has `work` done with each Llama instance that is made from now on, before anybody else gets it. */
export function afterCreation(work: (llama: Llama) => Promise<void>): void {
    const factory = Llama as unknown as LlamaFactory, create = factory._create as LlamaFactory["_create"] | undefined;
    if (create === undefined) throw new DeltaStoreError("RUNTIME_UNSUPPORTED", `node-llama-cpp lacks what llama-deltastore/register relies on: Llama._create. ${whatToInstall()}`);
    factory._create = async function (...options) {
        const llama = await create.apply(this, options);
        await work(llama);
        return llama;
    };
}
