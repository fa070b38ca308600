import {loadedNative} from "../../engine/load.js";
import type {ArchiveCodec, NativeBinding} from "../../engine/native.js";
import {DeltaStoreError, toDeltaStoreError, type ErrorCode} from "../../errors.js";
import {codecOf, type ColdCodec} from "../../policy/codecs.js";

const frozenMagic = Buffer.from("DSNZ");

/** Whether a stored block or tail is frozen. */
export const isFrozen = (part: Uint8Array): boolean => frozenMagic.compare(part, 0, frozenMagic.length) === 0;

/** Gives the engine. @throws DeltaStoreError BINARY_MISSING */
export type Engine = () => Promise<NativeBinding>;

/** The engine that `attach` has loaded. */
export const attachedEngine: Engine = async () => {
    const native = loadedNative();
    if (native === undefined) throw new DeltaStoreError("BINARY_MISSING", "Rows can't be frozen or thawed, as the engine is not in this process; `attach` loads it");
    return native;
};

/** As the engine takes it. @throws DeltaStoreError TURN_FOREIGN: a record has a codec that this version doesn't have */
export function nativeCodec(codec: ColdCodec): ArchiveCodec {
    const {name, parts, ...options} = codec;
    if (name === "tokens" || !isCodec(codec)) throw new DeltaStoreError("TURN_FOREIGN", `This version has no rows of the codec ${JSON.stringify(codec)}`);
    return {name, ...options, ...parts === undefined ? {} : {size: parts}};
}

function isCodec({name, ...options}: ColdCodec): boolean {
    try {
        codecOf("a turn", {codec: name, ...options});
        return true;
    } catch {
        return false;
    }
}

/** What the engine says of stored bytes. They have the right hash: so what contradicts the rest was stored so. */
const codes: Partial<Record<string, ErrorCode>> = {
    STATE_DAMAGED: "TURN_DAMAGED", STATE_FOREIGN: "TURN_FOREIGN", STATE_MODEL_MISMATCH: "TURN_DAMAGED"
};

/** @param what the beginning of an error's message */
export async function ofStored<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
        return await work();
    } catch (error) {
        const typed = toDeltaStoreError(error);
        throw typed instanceof DeltaStoreError ? new DeltaStoreError(codes[typed.code] ?? typed.code, `${what}: ${typed.message}`, {cause: error}) : typed;
    }
}
