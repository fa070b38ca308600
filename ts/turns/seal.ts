import {createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes, webcrypto} from "node:crypto";
import {promisify} from "node:util";
import {constants, deflateRaw, inflateRaw} from "node:zlib";
import {DeltaStoreError} from "../errors.js";

const {subtle} = webcrypto;
const deflate = promisify(deflateRaw), inflate = promisify(inflateRaw);

/** Bytes at rest: u8 version, u8 flags, u32 LE size before deflating, payload. An encrypted payload is {12-byte nonce, ciphertext, 16-byte tag}. */
const version = 1, headBytes = 6, nonceBytes = 12, tagBytes = 16, digestBytes = 16;
const flags = {deflated: 1, encrypted: 2};

/** Bytes that get smaller by less than this stay as they are. They are read faster then. */
const worthwhile = 0.97;

/** One piece. By default zlib returns to the event loop every 16 KB. */
const chunkBytes = (length: number) => Math.min(Math.max(length + 64, 1024), 1 << 22);

/** Half floats get 7% smaller and take twice the time. */
export type Coding = "entropy" | "none";

/** A Huffman code has at least one bit, so honest bytes grow by no more than this. */
const mostGrowth = 8.5;

/**
 * How bytes lie in a store. Their name is their SHA-256; with a key it is an HMAC of that, so that it tells nothing. They are entropy coded, as
 * codes of Gaussian values are not equally frequent. With a key they are encrypted by AES-256-GCM.
 */
export class Seal {
    readonly #nameKey: Uint8Array | null;
    readonly #cipherKey: Uint8Array | null;
    #importedKey: Promise<webcrypto.CryptoKey> | undefined;

    /** @param key 32 bytes, or null */
    constructor(key: Uint8Array | null) {
        const derive = (use: string) => key === null ? null : new Uint8Array(hkdfSync("sha256", key, new Uint8Array(0), `llama-deltastore ${use}`, 32));
        this.#nameKey = derive("names");
        this.#cipherKey = derive("contents");
    }

    nameOf(bytes: Uint8Array): string {
        const hash = this.#nameKey === null ? createHash("sha256") : createHmac("sha256", this.#nameKey);
        return hash.update(bytes).digest("hex");
    }

    /** The same, off the event loop. */
    async nameOfObject(bytes: Uint8Array): Promise<string> {
        const hash = this.#nameKey === null ? await subtle.digest("SHA-256", bytes) : await subtle.sign("HMAC", await this.#hmacKey(this.#nameKey), bytes);
        return Buffer.from(hash).toString("hex");
    }

    #hmacKey(key: Uint8Array): Promise<webcrypto.CryptoKey> {
        return this.#importedKey ??= subtle.importKey("raw", key, {name: "HMAC", hash: "SHA-256"}, false, ["sign"]);
    }

    /** @param about what the bytes are; they can only be opened as that */
    async #sealed(about: string, bytes: Uint8Array, coding: Coding): Promise<Uint8Array> {
        const deflated = coding === "none" ? bytes : await deflate(bytes, {strategy: constants.Z_HUFFMAN_ONLY, memLevel: 9, chunkSize: chunkBytes(bytes.length)});
        const isSmaller = deflated.length < worthwhile * bytes.length, payload = isSmaller ? deflated : bytes;
        const head = Buffer.alloc(headBytes);
        head[0] = version;
        head[1] = (isSmaller ? flags.deflated : 0) | (this.#cipherKey === null ? 0 : flags.encrypted);
        head.writeUInt32LE(bytes.length, 2);
        if (this.#cipherKey === null) return Buffer.concat([head, payload]);
        const nonce = randomBytes(nonceBytes), cipher = createCipheriv("aes-256-gcm", this.#cipherKey, nonce);
        cipher.setAAD(Buffer.concat([head, Buffer.from(about)]));
        return Buffer.concat([head, nonce, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
    }

    /** @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN, STORE_KEY_WRONG */
    async #opened(about: string, sealed: Uint8Array): Promise<Uint8Array> {
        const damaged = (why: string, cause?: unknown) => new DeltaStoreError("TURN_DAMAGED", `${about} is damaged: ${why}`, {cause});
        if (sealed.length < headBytes) throw damaged(`it has ${sealed.length} bytes`);
        const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length), flag = bytes[1]!, length = bytes.readUInt32LE(2);
        if (bytes[0] !== version) throw new DeltaStoreError("TURN_FOREIGN", `${about} has version ${bytes[0]}; this build reads ${version}`);
        if ((flag & ~(flags.deflated | flags.encrypted)) !== 0) throw damaged("its flags are unknown");
        if (((flag & flags.encrypted) !== 0) !== (this.#cipherKey !== null))
            throw new DeltaStoreError("STORE_KEY_WRONG", `${about} is ${this.#cipherKey === null ? "encrypted, and no key was given" : "not encrypted, and a key was given"}`);
        let payload = bytes.subarray(headBytes);
        if (this.#cipherKey !== null) {
            if (payload.length < nonceBytes + tagBytes) throw damaged(`it has ${bytes.length} bytes`);
            const decipher = createDecipheriv("aes-256-gcm", this.#cipherKey, payload.subarray(0, nonceBytes));
            decipher.setAAD(Buffer.concat([bytes.subarray(0, headBytes), Buffer.from(about)]));
            decipher.setAuthTag(payload.subarray(-tagBytes));
            try {
                payload = Buffer.concat([decipher.update(payload.subarray(nonceBytes, -tagBytes)), decipher.final()]);
            } catch (error) {
                throw new DeltaStoreError("STORE_KEY_WRONG", `${about} can't be decrypted: the key is another one, or it is damaged`, {cause: error});
            }
        }
        if (length > mostGrowth * payload.length + 1024) throw damaged(`it says to have ${length} bytes`);
        if ((flag & flags.deflated) !== 0) {
            try {
                payload = await inflate(payload, {maxOutputLength: Math.max(1, length), chunkSize: chunkBytes(length)});
            } catch (error) {
                throw damaged((error as Error).message, error);
            }
        }
        if (payload.length !== length) throw damaged(`it has ${payload.length} bytes instead of ${length}`);
        return payload;
    }

    /** An object's bytes. They must be those that its name was made of. @throws as `open` */
    async openObject(name: string, sealed: Uint8Array): Promise<Uint8Array> {
        const bytes = await this.#opened(`Object ${name}`, sealed);
        const found = this.nameOf(bytes);  // takes a millisecond or less for a block; another thread would need a copy
        if (found !== name) throw new DeltaStoreError("TURN_DAMAGED", `Object ${name} is damaged: its hash is ${found}`);
        return bytes;
    }

    /** Seals an entry's bytes for its name. They can't be opened under another. */
    async sealEntry(key: string, bytes: Uint8Array): Promise<Uint8Array> {
        return await this.#sealed(`Entry ${key}`, Buffer.concat([this.#digest(key, bytes), bytes]), "entropy");
    }

    /** @throws as `open` */
    async openEntry(key: string, sealed: Uint8Array): Promise<Uint8Array> {
        const all = await this.#opened(`Entry ${key}`, sealed), bytes = all.subarray(digestBytes);
        if (!this.#digest(key, bytes).equals(all.subarray(0, digestBytes))) throw new DeltaStoreError("TURN_DAMAGED", `Entry ${key} is damaged: its hash is another`);
        return bytes;
    }

    #digest(key: string, bytes: Uint8Array): Buffer {
        return createHash("sha256").update(key).update(bytes).digest().subarray(0, digestBytes);
    }

    sealObject(name: string, bytes: Uint8Array, coding: Coding = "entropy"): Promise<Uint8Array> {
        return this.#sealed(`Object ${name}`, bytes, coding);
    }
}
