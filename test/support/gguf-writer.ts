import type {GgufValue as Value, GgufWriter as Writer} from "../../dist/models/gguf-writer.js";
import {dist} from "./paths.js";

/** The package's own. */
export const {array, bool, f32, GgufWriter, text, u32} = await import(dist("models/gguf-writer.js")) as typeof import("../../dist/models/gguf-writer.js");
export type GgufValue = Value;
export type GgufWriter = Writer;
