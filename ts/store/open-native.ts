import {getLlama, LlamaLogLevel} from "node-llama-cpp";
import {loadedNative, loadNative} from "../engine/load.js";
import type {NativeBinding} from "../engine/native.js";
import {attach} from "./attach.js";

/**
 * The engine, for its pure functions. It needs node-llama-cpp's libraries in the process: where no Llama instance has brought them, one does for a moment.
 * @throws DeltaStoreError RUNTIME_UNSUPPORTED, PLATFORM_UNSUPPORTED, BINARY_MISSING
 */
export async function openNative(): Promise<NativeBinding> {
    const native = loadedNative();
    if (native !== undefined) return native;
    const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.disabled});
    try {
        (await attach(llama)).dispose();
        return await loadNative();
    } finally {
        await llama.dispose();
    }
}
