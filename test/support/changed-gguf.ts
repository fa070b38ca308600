import {closeSync, copyFileSync, openSync, readSync, statSync, writeSync} from "node:fs";
import {dist} from "./paths.js";

const {readTensors} = await import(dist("models/gguf-header.js")) as typeof import("../../dist/models/gguf-header.js");
const {tensorBytes} = await import(dist("models/ggml-types.js")) as typeof import("../../dist/models/ggml-types.js");

export interface TensorPlace {
    readonly name: string;
    /** Its number in ggml. */
    readonly type: number;
    /** A byte in the middle of its data, counted from the beginning of the file. */
    readonly middle: number;
}

/** The tensors of a file. */
export function tensorPlaces(path: string): TensorPlace[] {
    const file = openSync(path, "r");
    try {
        return readTensors(file, statSync(path).size).map(({name, type, dimensions, offset}) => ({name, type, middle: offset + (tensorBytes(type, dimensions) >> 1)}));
    } finally {
        closeSync(file);
    }
}

/** Flips the lowest bit of a byte, in place; a second time undoes it. */
export function flipBit(path: string, at: number): void {
    const file = openSync(path, "r+"), byte = Buffer.alloc(1);
    try {
        readSync(file, byte, 0, 1, at);
        byte[0]! ^= 1;
        writeSync(file, byte, 0, 1, at);
    } finally {
        closeSync(file);
    }
}

/** A copy that differs in one bit of one tensor. */
export function changedCopy(path: string, copy: string, tensor: string): void {
    const place = tensorPlaces(path).find(({name}) => name === tensor);
    if (place === undefined) throw new Error(`${path} has no tensor ${tensor}`);
    copyFileSync(path, copy);
    flipBit(copy, place.middle);
}
