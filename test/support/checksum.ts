const mask = (1n << 64n) - 1n;

/** The checksum of `cpp/byte_io.h`: 64-bit FNV-1a over words of 8 bytes, with a final mix. */
export function checksum(bytes: Uint8Array): bigint {
    let hash = 0xcbf29ce484222325n;
    const words = Buffer.alloc(Math.ceil(bytes.length / 8) * 8);
    words.set(bytes);
    for (let at = 0; at < words.length; at += 8) {
        hash = (hash ^ words.readBigUInt64LE(at)) * 0x100000001b3n & mask;
        hash ^= hash >> 29n;
    }
    return hash ^ hash >> 32n;
}
