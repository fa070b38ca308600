import {closeSync, openSync, readFileSync, writeFileSync} from "node:fs";
import {dist} from "./paths.js";

const {readTensors} = await import(dist("models/gguf-header.js")) as typeof import("../../dist/models/gguf-header.js");
const {tensorBytes} = await import(dist("models/ggml-types.js")) as typeof import("../../dist/models/ggml-types.js");

const alignment = 32;
const uint16Type = 2;
const int32Type = 5;

/** Writes a model as two files, each with about half of the tensors, by the names that llama.cpp wants. @returns their paths */
export function splitGguf(path: string, stem: string): string[] {
    const whole = readFileSync(path);
    const descriptor = openSync(path, "r");
    const tensors = readTensors(descriptor, whole.length);
    closeSync(descriptor);
    const metadata = whole.subarray(24, whole.indexOf(text(tensors[0]!.name)));
    const half = tensors.length >> 1;
    return [tensors.slice(0, half), tensors.slice(half)].map((own, part) => {
        const header = Buffer.concat([
            whole.subarray(0, 8), uint(8, own.length), uint(8, Number(whole.readBigUInt64LE(16)) + 3), metadata,
            text("split.no"), uint(4, uint16Type), uint(2, part),
            text("split.count"), uint(4, uint16Type), uint(2, 2),
            text("split.tensors.count"), uint(4, int32Type), uint(4, tensors.length)
        ]);
        const data = own.map(({type, dimensions, offset}) => padded(whole.subarray(offset, offset + tensorBytes(type, dimensions))));
        let offset = 0;
        const infos = own.map(({name, type, dimensions}, index) => {
            const info = [text(name), uint(4, dimensions.length), ...dimensions.map((size) => uint(8, size)), uint(4, type), uint(8, offset)];
            offset += data[index]!.length;
            return Buffer.concat(info);
        });
        const partPath = `${stem}-0000${part + 1}-of-00002.gguf`;
        writeFileSync(partPath, Buffer.concat([padded(Buffer.concat([header, ...infos])), ...data]));
        return partPath;
    });
}

function padded(bytes: Buffer): Buffer {
    return Buffer.concat([bytes, Buffer.alloc((alignment - bytes.length % alignment) % alignment)]);
}

function uint(bytes: number, value: number): Buffer {
    const buffer = Buffer.alloc(bytes);
    buffer.writeUIntLE(value, 0, Math.min(bytes, 6));
    return buffer;
}

function text(value: string): Buffer {
    return Buffer.concat([uint(8, Buffer.byteLength(value)), Buffer.from(value)]);
}
