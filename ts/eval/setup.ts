import {createHash} from "node:crypto";
import {readFileSync, statSync} from "node:fs";
import path from "node:path";
import {engineFile} from "../engine/files.js";
import {engineFolder} from "../engine/load.js";
import type {NativeBinding} from "../engine/native.js";
import type {JournalSetup} from "./journal.js";

/** What all results depend on: the model, the text, the engine and its kernels. */
export function evalSetup(native: NativeBinding, modelPath: string, text: string): JournalSetup {
    return {
        model: `${path.basename(modelPath)}, ${statSync(modelPath).size} bytes`,
        text: sha256(text),
        engine: sha256(readFileSync(path.join(engineFolder()!, engineFile))),
        kernel: native.kernels().selected
    };
}

function sha256(bytes: string | Buffer): string {
    return createHash("sha256").update(bytes).digest("hex");
}
