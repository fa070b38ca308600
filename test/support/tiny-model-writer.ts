import {Gaussian} from "./gaussian.js";
import {array, GgufWriter, text, u32, type GgufValue} from "./gguf-writer.js";
import {vocabSize, writeVocab} from "./tiny-vocab.js";

export interface TinyShape {
    layers: number;
    /** Length of the residual stream. */
    embed: number;
    feedForward: number;
    /** An array gives each layer its own number. */
    heads: number | readonly number[];
    kvHeads: number | readonly number[];
    keyLength: number;
    valueLength: number;
    /** Dimensions of a head that rotate; all by default. */
    rotated: number;
}

/**
 * Gains keep the stream's root mean square near one in every model, whatever its lengths:
 * a matrix of gain g turns a normalized vector into one of root mean square g.
 *
 * queryKey: two of these give attention logits a deviation of about 2.5, so that a query attends to a handful of
 * a hundred tokens.
 * residual: what a block adds outweighs the embedding, or a tied output would only repeat its input.
 * output: logits with a deviation of about 2, between certainty and chance.
 */
export const gains = {queryKey: 1.6, residual: 1.5, output: 2};

/** The metadata and tensors that all the models have, on top of the GGUF writer. */
export class TinyModelWriter {
    readonly gguf = new GgufWriter();
    readonly random: Gaussian;

    constructor(readonly architecture: string, readonly shape: TinyShape, seed: number) {
        this.random = new Gaussian(seed);
        this.gguf
            .set("general.architecture", text(architecture))
            // Of a model with "phi3" in its name llama.cpp expects special tokens.
            .set("general.name", text(`tiny random ${architecture.replace("phi3", "phi")}`))
            .set("general.file_type", u32(1));

        this
            .set("context_length", u32(8192))
            .set("embedding_length", u32(shape.embed))
            .set("block_count", u32(shape.layers))
            .set("feed_forward_length", u32(shape.feedForward))
            .set("attention.head_count", perLayer(shape.heads))
            .set("attention.head_count_kv", perLayer(shape.kvHeads))
            .set("attention.key_length", u32(shape.keyLength))
            .set("attention.value_length", u32(shape.valueLength))
            .set("rope.dimension_count", u32(shape.rotated));

        writeVocab(this.gguf);
    }

    heads(layer: number): number {
        return ofLayer(this.shape.heads, layer);
    }

    kvHeads(layer: number): number {
        return ofLayer(this.shape.kvHeads, layer);
    }

    /** A metadata key below the architecture's name. */
    set(key: string, value: GgufValue): this {
        this.gguf.set(`${this.architecture}.${key}`, value);
        return this;
    }

    /** dims as in ggml: input length first, then output length, then how many such matrices. */
    matrix(name: string, dims: readonly [input: number, output: number, count?: number], gain = 1): this {
        const lengths = dims.filter((dim) => dim !== undefined);
        const values = this.random.fill(lengths.reduce((product, dim) => product * dim, 1), gain / Math.sqrt(dims[0]));
        this.gguf.tensor(`${name}.weight`, lengths, "f16", values);
        return this;
    }

    vector(name: string, length: number, {mean = 0, deviation}: {mean?: number, deviation: number}): this {
        this.gguf.tensor(name, [length], "f32", this.random.fill(length, deviation, mean));
        return this;
    }

    bias(name: string, length: number, deviation = 0.1): this {
        return this.vector(`${name}.bias`, length, {deviation});
    }

    rmsNorm(name: string, length = this.shape.embed, gain = 1): this {
        return this.vector(`${name}.weight`, length, {mean: gain, deviation: 0.1 * gain});
    }

    layerNorm(name: string, length = this.shape.embed): this {
        return this.rmsNorm(name, length).bias(name, length);
    }

    tiedEmbedding(): this {
        return this.#embedding(gains.output / Math.sqrt(this.shape.embed));
    }

    untiedEmbedding(deviation = 0.5): this {
        return this
            .#embedding(deviation)
            .matrix("output", [this.shape.embed, vocabSize], gains.output);
    }

    #embedding(deviation: number): this {
        const {embed} = this.shape;
        this.gguf.tensor("token_embd.weight", [embed, vocabSize], "f16", this.random.fill(embed * vocabSize, deviation));
        return this;
    }
}

function perLayer(value: number | readonly number[]): GgufValue {
    return typeof value === "number"
        ? u32(value)
        : array.u32(value);
}

function ofLayer(value: number | readonly number[], layer: number): number {
    return typeof value === "number"
        ? value
        : value[layer]!;
}
