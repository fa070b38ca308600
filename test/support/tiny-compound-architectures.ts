import {array, f32, u32} from "./gguf-writer.js";
import {eachLayer, type Architecture} from "./tiny-architectures.js";
import {attention, gatedFeedForward, queryKeyNorms, stateSpace} from "./tiny-blocks.js";
import {gains, type TinyModelWriter} from "./tiny-model-writer.js";

/**
 * Architectures whose memory has more parts than one cache: layers with a sliding window, and recurrent layers. As for tiny-architectures.ts,
 * src/models/*.cpp of the pinned release says what each asks for.
 */

const window = 64;

export const gemma3: Architecture = (model) => {
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-6))
        .set("attention.sliding_window", u32(window))
        .tiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        gemmaNorms(model, name);
        attention(model, layer);
        queryKeyNorms(model, layer);
        gatedFeedForward(model, layer);
    });
};

/**
 * Every third layer attends to all tokens. Its heads are twice as long as those of the others, and its values are its keys, normed in another way. The
 * last `shared` layers have no keys and values of their own: each takes those of the last layer of its kind that has.
 */
export function gemma4(shared = 0): Architecture {
    return (model) => {
        const {embed, keyLength, layers} = model.shape, short = keyLength / 2;
        const slides = (layer: number) => layer % 3 !== 2;
        model
            .set("attention.layer_norm_rms_epsilon", f32(1e-6))
            .set("attention.sliding_window", u32(window))
            .set("attention.sliding_window_pattern", array.bool(Array.from({length: layers}, (_, layer) => slides(layer))))
            .set("attention.key_length_swa", u32(short))
            .set("attention.value_length_swa", u32(short))
            .set("attention.shared_kv_layers", u32(shared))
            .set("embedding_length_per_layer_input", u32(0))
            .set("rope.dimension_count_swa", u32(short))
            .set("rope.freq_base", f32(1_000_000))
            .set("rope.freq_base_swa", f32(10_000))
            .set("final_logit_softcapping", f32(30))
            .tiedEmbedding()
            .rmsNorm("output_norm");
        // Of the long heads a quarter of the dimensions rotates.
        const factors = Float32Array.from({length: keyLength / 2}, (_, dimension) => dimension < keyLength / 8 ? 1 : 1e30);
        model.gguf.tensor("rope_freqs.weight", [factors.length], "f32", factors);
        eachLayer(model, (layer, name) => {
            const length = slides(layer) ? short : keyLength, heads = model.heads(layer), kvHeads = model.kvHeads(layer);
            gemmaNorms(model, name);
            model
                .matrix(`${name}.attn_q`, [embed, heads * length])
                .rmsNorm(`${name}.attn_q_norm`, length, 0.5)
                .matrix(`${name}.attn_output`, [heads * length, embed], 2 * gains.residual);
            if (layer < layers - shared) {
                model.matrix(`${name}.attn_k`, [embed, kvHeads * length]).rmsNorm(`${name}.attn_k_norm`, length, 0.4);
                if (slides(layer)) model.matrix(`${name}.attn_v`, [embed, kvHeads * length]);
            }
            gatedFeedForward(model, layer);
        });
    };
}

function gemmaNorms(model: TinyModelWriter, name: string): void {
    model
        .rmsNorm(`${name}.attn_norm`)
        .rmsNorm(`${name}.post_attention_norm`, undefined, 4)
        .rmsNorm(`${name}.ffn_norm`)
        .rmsNorm(`${name}.post_ffw_norm`, undefined, 4);
}

/** Layers without KV heads are short convolutions. With a sliding window, all others have it. */
export function lfm2({slides = false} = {}): Architecture {
    return (model) => {
        const {embed} = model.shape, kernel = 3;
        model
            .set("attention.layer_norm_rms_epsilon", f32(1e-5))
            .set("shortconv.l_cache", u32(kernel))
            .untiedEmbedding()
            .rmsNorm("token_embd_norm");
        if (slides) model.set("attention.sliding_window", u32(window));
        eachLayer(model, (layer, name) => {
            model.rmsNorm(`${name}.attn_norm`).rmsNorm(`${name}.ffn_norm`);
            gatedFeedForward(model, layer);
            if (model.kvHeads(layer) > 0) {
                attention(model, layer);
                queryKeyNorms(model, layer);
                return;
            }
            model
                .matrix(`${name}.shortconv.in_proj`, [embed, 3 * embed], 1.5)
                .matrix(`${name}.shortconv.out_proj`, [embed, embed], gains.residual);
            model.gguf.tensor(`${name}.shortconv.conv.weight`, [kernel, embed], "f32", model.random.fill(kernel * embed, 0.6));
        });
    };
}

/** Every other layer attends, with a gate on its output. The others are gated delta nets. */
export const qwen35: Architecture = (model) => {
    const {embed, keyLength, valueLength} = model.shape;
    const [kernel, state, groups, rank] = [4, 64, 2, 4];
    const inner = state * rank, convolved = 2 * state * groups + inner;
    stateSpace(model, {kernel, inner, state, rank, groups});
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-6))
        .set("rope.dimension_sections", array.i32([8, 12, 12, 0]))
        .set("full_attention_interval", u32(2))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.rmsNorm(`${name}.attn_norm`).rmsNorm(`${name}.post_attention_norm`);
        gatedFeedForward(model, layer);
        if (layer % 2 === 1) {
            const heads = model.heads(layer), kvHeads = model.kvHeads(layer);
            model
                .matrix(`${name}.attn_q`, [embed, 2 * heads * keyLength], gains.queryKey)
                .matrix(`${name}.attn_k`, [embed, kvHeads * keyLength], gains.queryKey)
                .matrix(`${name}.attn_v`, [embed, kvHeads * valueLength])
                .matrix(`${name}.attn_output`, [heads * valueLength, embed], 3 * gains.residual);
            queryKeyNorms(model, layer);
            return;
        }
        model
            .matrix(`${name}.attn_qkv`, [embed, convolved])
            .matrix(`${name}.attn_gate`, [embed, inner])
            .matrix(`${name}.ssm_beta`, [embed, rank])
            .matrix(`${name}.ssm_alpha`, [embed, rank])
            .vector(`${name}.ssm_dt.bias`, rank, {mean: -2, deviation: 0.5})
            .rmsNorm(`${name}.ssm_norm`, state)
            .matrix(`${name}.ssm_out`, [inner, embed], gains.residual);
        model.gguf
            .tensor(`${name}.ssm_conv1d.weight`, [kernel, convolved], "f32", model.random.fill(kernel * convolved, 0.5))
            .tensor(`${name}.ssm_a`, [rank], "f32", Float32Array.from({length: rank}, (_, head) => -(0.2 + 0.3 * head)));
    });
};

/** Layers without KV heads are state space models (Mamba 2). */
export const graniteHybrid: Architecture = (model) => {
    const {embed} = model.shape;
    const [kernel, state, groups, heads] = [4, 16, 2, 8];
    const inner = 2 * embed, convolved = inner + 2 * groups * state;
    stateSpace(model, {kernel, inner, state, rank: heads, groups});
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.rmsNorm(`${name}.attn_norm`).rmsNorm(`${name}.ffn_norm`);
        gatedFeedForward(model, layer);
        if (model.kvHeads(layer) > 0) return attention(model, layer);
        model
            .matrix(`${name}.ssm_in`, [embed, 2 * inner + 2 * groups * state + heads], 1.5)
            .bias(`${name}.ssm_conv1d`, convolved)
            .vector(`${name}.ssm_dt.bias`, heads, {mean: -2, deviation: 0.5})
            .matrix(`${name}.ssm_out`, [inner, embed], gains.residual);
        model.gguf
            .tensor(`${name}.ssm_conv1d.weight`, [kernel, convolved], "f32", model.random.fill(kernel * convolved, 0.5))
            .tensor(`${name}.ssm_a`, [1, heads], "f32", Float32Array.from({length: heads}, (_, head) => -(0.2 + 0.2 * head)))
            .tensor(`${name}.ssm_d`, [1, heads], "f32", model.random.fill(heads, 0.1, 1))
            .tensor(`${name}.ssm_norm.weight`, [inner / groups, groups], "f32", model.random.fill(inner, 0.1, 1));
    });
};
