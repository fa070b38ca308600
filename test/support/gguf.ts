/** A whole GGUF file of one tensor of 64 values (of F32 if `type` is 0, or of a smaller type), which loads nowhere but can be checked. */
export function tinyGguf(type = 0): Buffer {
    const header = Buffer.concat([
        Buffer.from("GGUF"), uint32(3), uint64(1), uint64(1),
        text("general.architecture"), uint32(8), text("llama"),
        text("weight"), uint32(1), uint64(64), uint32(type), uint64(0)
    ]);
    const padding = Buffer.alloc((32 - header.length % 32) % 32);
    const values = Buffer.from(new Float32Array(64).map((_, index) => index).buffer);
    return Buffer.concat([header, padding, values]);
}

function uint32(value: number): Buffer {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32LE(value);
    return buffer;
}

function uint64(value: number): Buffer {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64LE(BigInt(value));
    return buffer;
}

function text(value: string): Buffer {
    return Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);
}
