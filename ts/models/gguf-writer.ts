import {writeFile} from "node:fs/promises";

const alignment = 32;
const valueTypes = {uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9} as const;
const tensorTypes = {f32: 0, f16: 1} as const;

export type TensorType = keyof typeof tensorTypes;
export type GgufValue =
    | {type: "uint32" | "int32" | "float32", value: number}
    | {type: "bool", value: boolean}
    | {type: "string", value: string}
    | {type: "array", of: "uint32" | "int32" | "float32", value: readonly number[]}
    | {type: "array", of: "bool", value: readonly boolean[]}
    | {type: "array", of: "string", value: readonly string[]};

interface Tensor {
    name: string;
    /** The fastest varying dimension comes first, as in ggml. */
    dims: readonly number[];
    type: TensorType;
    bytes: Buffer;
}

export const u32 = (value: number): GgufValue => ({type: "uint32", value});
export const f32 = (value: number): GgufValue => ({type: "float32", value});
export const bool = (value: boolean): GgufValue => ({type: "bool", value});
export const text = (value: string): GgufValue => ({type: "string", value});
export const array = {
    u32: (value: readonly number[]): GgufValue => ({type: "array", of: "uint32", value}),
    i32: (value: readonly number[]): GgufValue => ({type: "array", of: "int32", value}),
    f32: (value: readonly number[]): GgufValue => ({type: "array", of: "float32", value}),
    bool: (value: readonly boolean[]): GgufValue => ({type: "array", of: "bool", value}),
    text: (value: readonly string[]): GgufValue => ({type: "array", of: "string", value})
};

/** Collects a model in memory and writes it as GGUF version 3, little-endian. */
export class GgufWriter {
    readonly #metadata = new Map<string, GgufValue>();
    readonly #tensors = new Map<string, Tensor>();

    set(key: string, value: GgufValue): this {
        if (this.#metadata.has(key))
            throw new Error(`metadata key written twice: ${key}`);

        this.#metadata.set(key, value);
        return this;
    }

    tensor(name: string, dims: readonly number[], type: TensorType, values: Float32Array): this {
        if (this.#tensors.has(name))
            throw new Error(`tensor written twice: ${name}`);
        if (values.length !== dims.reduce((product, dim) => product * dim, 1))
            throw new Error(`tensor ${name}: ${values.length} values for [${dims.join(", ")}]`);

        this.#tensors.set(name, {name, dims, type, bytes: encodeTensor(type, values)});
        return this;
    }

    toBuffer(): Buffer {
        const out = new ByteSink();
        out.bytes(Buffer.from("GGUF", "latin1"));
        out.u32(3);
        out.u64(this.#tensors.size);
        out.u64(this.#metadata.size);

        for (const [key, value] of this.#metadata) {
            out.string(key);
            writeValue(out, value);
        }

        let offset = 0;
        for (const {name, dims, type, bytes} of this.#tensors.values()) {
            out.string(name);
            out.u32(dims.length);
            dims.forEach((dim) => out.u64(dim));
            out.u32(tensorTypes[type]);
            out.u64(offset);
            offset += padded(bytes.length);
        }

        out.align();
        for (const {bytes} of this.#tensors.values()) {
            out.bytes(bytes);
            out.align();
        }

        return out.toBuffer();
    }

    async write(path: string): Promise<void> {
        await writeFile(path, this.toBuffer());
    }
}

class ByteSink {
    readonly #chunks: Buffer[] = [];
    #length = 0;

    bytes(chunk: Buffer): void {
        this.#chunks.push(chunk);
        this.#length += chunk.length;
    }

    u32(value: number): void {
        this.#number(4, (chunk) => chunk.writeUInt32LE(value));
    }

    i32(value: number): void {
        this.#number(4, (chunk) => chunk.writeInt32LE(value));
    }

    f32(value: number): void {
        this.#number(4, (chunk) => chunk.writeFloatLE(value));
    }

    u64(value: number): void {
        this.#number(8, (chunk) => chunk.writeBigUInt64LE(BigInt(value)));
    }

    #number(size: number, write: (chunk: Buffer) => void): void {
        const chunk = Buffer.alloc(size);
        write(chunk);
        this.bytes(chunk);
    }

    string(value: string): void {
        const chunk = Buffer.from(value, "utf8");
        this.u64(chunk.length);
        this.bytes(chunk);
    }

    align(): void {
        this.bytes(Buffer.alloc(padded(this.#length) - this.#length));
    }

    toBuffer(): Buffer {
        return Buffer.concat(this.#chunks);
    }
}

function writeValue(out: ByteSink, value: GgufValue): void {
    out.u32(valueTypes[value.type]);
    if (value.type !== "array")
        return writeScalar(out, value.type, value.value);

    out.u32(valueTypes[value.of]);
    out.u64(value.value.length);
    for (const item of value.value)
        writeScalar(out, value.of, item);
}

function writeScalar(out: ByteSink, type: Exclude<keyof typeof valueTypes, "array">, value: number | boolean | string): void {
    switch (type) {
        case "uint32": return out.u32(value as number);
        case "int32": return out.i32(value as number);
        case "float32": return out.f32(value as number);
        case "bool": return out.bytes(Buffer.from([value ? 1 : 0]));
        case "string": return out.string(value as string);
    }
}

function encodeTensor(type: TensorType, values: Float32Array): Buffer {
    if (type === "f32") {
        const bytes = Buffer.alloc(values.length * 4);
        values.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
        return bytes;
    }

    const bytes = Buffer.alloc(values.length * 2);
    values.forEach((value, i) => bytes.writeUInt16LE(toHalf(value), i * 2));
    return bytes;
}

/** The bits of the nearest half float, ties to even. Refuses what half floats can't hold. */
function toHalf(value: number): number {
    const magnitude = Math.abs(value);
    if (!(magnitude < 65520))
        throw new RangeError(`not a finite half float: ${value}`);

    const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
    // Below 2^-14 halves are spaced like those of that exponent.
    const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14);
    const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));

    // Normal numbers have steps in [1024, 2048]; adding lets 2048 carry into the exponent.
    return sign | (((exponent + 14) << 10) + steps);
}

function roundHalfEven(value: number): number {
    const floor = Math.floor(value);
    const rest = value - floor;

    return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
}

function padded(length: number): number {
    return Math.ceil(length / alignment) * alignment;
}
