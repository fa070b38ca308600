import {array, f32, GgufWriter, text, u32, type GgufValue} from "./gguf-writer.js";

/** Models of random weights, as small as the engine takes. They know nothing: they are to give the same on two caches. */

export const tinyKinds = ["attention", "window", "recurrent"] as const;
export type TinyKind = typeof tinyKinds[number];

/** Tokens of the vocabulary: three special ones, then all bytes. */
export const tinyVocabulary = 3 + 256;

const embed = 128, head = 64, queryHeads = 2, feedForward = 128, convolution = 3;

interface Shape {
    architecture: string;
    /** For each layer whether it attends; the others of a recurrent model are short convolutions. */
    attends: readonly boolean[];
    /** Norms behind attention and feed-forward (Gemma). */
    postNorms: boolean;
    headNorms: boolean;
    more: Record<string, GgufValue>;
}

const shapes: Record<TinyKind, Shape> = {
    attention: {architecture: "llama", attends: [true, true], postNorms: false, headNorms: false, more: {}},
    // Five of six layers have the window.
    window: {architecture: "gemma3", attends: Array.from({length: 6}, () => true), postNorms: true, headNorms: true, more: {"attention.sliding_window": u32(64)}},
    recurrent: {architecture: "lfm2", attends: [false, true], postNorms: false, headNorms: true, more: {"shortconv.l_cache": u32(convolution)}}
};

/** A model's GGUF file (version 3, little-endian, weights F32). The same bytes each time. */
export function tinyModel(kind: TinyKind): Buffer {
    const shape = shapes[kind], {architecture, attends} = shape;
    const metadata: [string, GgufValue][] = [
        ["general.architecture", text(architecture)],
        ...Object.entries({
            context_length: u32(2048), embedding_length: u32(embed), block_count: u32(attends.length), feed_forward_length: u32(feedForward),
            "attention.head_count": u32(queryHeads), "attention.head_count_kv": array.u32(attends.map(Number)),
            "attention.key_length": u32(head), "attention.value_length": u32(head), "rope.dimension_count": u32(head),
            "attention.layer_norm_rms_epsilon": f32(1e-5), ...shape.more
        }).map(([key, value]): [string, GgufValue] => [`${architecture}.${key}`, value]),
        ["tokenizer.ggml.model", text("llama")],
        ["tokenizer.ggml.tokens", array.text(["<unk>", "<s>", "</s>", ...Array.from({length: 256}, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`)])],
        ["tokenizer.ggml.scores", array.f32(Array.from({length: tinyVocabulary}, () => 0))],
        ["tokenizer.ggml.token_type", array.i32(Array.from({length: tinyVocabulary}, (_, token) => token === 0 ? 2 : token < 3 ? 3 : 6))],
        ["tokenizer.ggml.bos_token_id", u32(1)], ["tokenizer.ggml.eos_token_id", u32(2)]
    ];
    const writer = new GgufWriter(), normal = randomNumbers();
    for (const [key, value] of metadata) writer.set(key, value);
    for (const {name, dims, mean, deviation} of tensorsOf(shape)) {
        const length = dims.reduce((product, dim) => product * dim, 1);
        writer.tensor(name, dims, "f32", Float32Array.from({length}, () => mean + deviation * normal()));
    }
    return writer.toBuffer();
}

interface Tensor {
    name: string;
    /** The fastest varying dimension comes first. */
    dims: readonly number[];
    mean: number;
    deviation: number;
}

function tensorsOf({architecture, attends, postNorms, headNorms}: Shape): Tensor[] {
    const tensors: Tensor[] = [];
    const matrix = (name: string, input: number, output: number, gain = 1) => tensors.push({name: `${name}.weight`, dims: [input, output], mean: 0, deviation: gain / Math.sqrt(input)});
    const norm = (name: string, length = embed, mean = 1) => tensors.push({name: `${name}.weight`, dims: [length], mean, deviation: mean / 10});
    tensors.push({name: "token_embd.weight", dims: [embed, tinyVocabulary], mean: 0, deviation: 2 / Math.sqrt(embed)});
    norm(architecture === "lfm2" ? "token_embd_norm" : "output_norm");
    for (const [layer, attending] of attends.entries()) {
        const name = `blk.${layer}`;
        for (const part of ["attn_norm", "ffn_norm"]) norm(`${name}.${part}`);
        if (postNorms) for (const part of ["post_attention_norm", "post_ffw_norm"]) norm(`${name}.${part}`, embed, 4);
        if (attending) {
            matrix(`${name}.attn_q`, embed, queryHeads * head, 1.6);
            matrix(`${name}.attn_k`, embed, head, 1.6);
            matrix(`${name}.attn_v`, embed, head);
            matrix(`${name}.attn_output`, queryHeads * head, embed, 3);
            if (headNorms) for (const part of ["attn_q_norm", "attn_k_norm"]) norm(`${name}.${part}`, head, 1.6);
        } else {
            matrix(`${name}.shortconv.in_proj`, embed, 3 * embed, 1.5);
            matrix(`${name}.shortconv.out_proj`, embed, embed, 1.5);
            tensors.push({name: `${name}.shortconv.conv.weight`, dims: [convolution, embed], mean: 0, deviation: 0.6});
        }
        matrix(`${name}.ffn_gate`, embed, feedForward, 1.5);
        matrix(`${name}.ffn_up`, embed, feedForward, 1.5);
        matrix(`${name}.ffn_down`, feedForward, embed, 1.5);
    }
    return tensors;
}

/** A linear congruential generator (Numerical Recipes' constants). The sum of twelve uniform numbers, less six, is near enough to normal. */
function randomNumbers(): () => number {
    let state = 1;
    const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    return () => Array.from({length: 12}, uniform).reduce((sum, one) => sum + one, -6);
}
