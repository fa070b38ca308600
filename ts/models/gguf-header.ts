import {readSync} from "node:fs";

/** Where a tensor's data lies, counted from the beginning of the file. */
export interface GgufTensor {
    name: string;
    type: number;
    dimensions: number[];
    offset: number;
}

/** Bytes of a metadata value, by its type's number in GGUF. Strings (8) and arrays (9) carry their length. */
const valueBytes: ReadonlyMap<number, number> = new Map([
    [0, 1], [1, 1], [2, 2], [3, 2], [4, 4], [5, 4], [6, 4], [7, 1], [10, 8], [11, 8], [12, 8]
]);
const uint32Type = 4;
const stringType = 8;
const arrayType = 9;

/** The file ends inside its header, or what is there of it does. */
export class HeaderCut extends Error {}

const mostStringBytes = 1 << 26;
const knownVersions = [2, 3];
const mostDimensions = 4; // GGML_MAX_DIMS
const deepestArray = 4;
const windowBytes = 1 << 20;

/**
 * The tensors that a GGUF header describes. Every length is checked against the file's size before it is followed, so
 * any bytes come to an end. node-llama-cpp's own reader trusts the header, and can run without end on a damaged one.
 * @throws HeaderCut or another Error with what is wrong
 */
export function readTensors(descriptor: number, fileBytes: number): GgufTensor[] {
    const reader = new HeaderReader(descriptor, fileBytes);
    if (fileBytes < 4 || reader.bytes(4).toString("latin1") !== "GGUF")
        throw new Error('it does not begin with "GGUF"');
    const version = reader.uint32();
    if (!knownVersions.includes(version)) throw new Error(`its version ${version} isn't known`);
    const tensorCount = reader.uint64();
    const fieldCount = reader.uint64();

    let alignment = 32;
    for (let index = 0; index < fieldCount; index++) {
        const name = reader.string();
        const type = reader.uint32();
        if (name === "general.alignment" && type === uint32Type) alignment = reader.uint32();
        else skipValue(reader, type, 0);
    }
    if (alignment === 0) throw new Error("its alignment is 0");

    const tensors: GgufTensor[] = [];
    for (let index = 0; index < tensorCount; index++) {
        const name = reader.string();
        const dimensionCount = reader.uint32();
        if (dimensionCount > mostDimensions) throw new Error(`the tensor ${name} has ${dimensionCount} dimensions`);
        const dimensions = Array.from({length: dimensionCount}, () => reader.uint64());
        tensors.push({name, dimensions, type: reader.uint32(), offset: reader.uint64()});
    }
    const dataStart = Math.ceil(reader.position / alignment) * alignment;
    for (const tensor of tensors) tensor.offset += dataStart;
    return tensors;
}

function skipValue(reader: HeaderReader, type: number, depth: number): void {
    const size = valueBytes.get(type);
    if (size !== undefined) return reader.skip(size);
    if (type === stringType) return reader.skip(reader.uint64());
    if (type !== arrayType || depth === deepestArray) throw new Error(`its header has a value of the type ${type}`);
    const elementType = reader.uint32();
    const count = reader.uint64();
    const elementSize = valueBytes.get(elementType);
    if (elementSize !== undefined) return reader.skip(count * elementSize);
    for (let index = 0; index < count; index++) skipValue(reader, elementType, depth + 1);
}

/** Reads little-endian values from a window that moves over the file. */
class HeaderReader {
    position = 0;
    private window = Buffer.alloc(0);
    private windowStart = 0;

    constructor(private readonly descriptor: number, private readonly fileBytes: number) {}

    uint32(): number {
        return this.bytes(4).readUInt32LE();
    }

    uint64(): number {
        return Number(this.bytes(8).readBigUInt64LE());
    }

    string(): string {
        return this.bytes(this.uint64()).toString("utf8");
    }

    skip(count: number): void {
        if (!(this.position + count <= this.fileBytes))
            throw new Error(`its header goes on after the file's end at byte ${this.fileBytes}`);
        this.position += count;
    }

    bytes(count: number): Buffer {
        const start = this.position;
        this.skip(count);
        if (start < this.windowStart || this.position > this.windowStart + this.window.length) {
            if (count > mostStringBytes) throw new Error(`its header has a value of ${count} bytes`);
            const window = Buffer.alloc(Math.max(count, windowBytes));
            const read = readSync(this.descriptor, window, 0, window.length, start);
            if (read < count) throw new HeaderCut(`it ends at byte ${start + read}`);
            this.window = window.subarray(0, read);
            this.windowStart = start;
        }
        return this.window.subarray(start - this.windowStart, this.position - this.windowStart);
    }
}
