import {array, bool, f32, text, u32} from "./gguf-writer.js";
import {
    attention, attentionOutput, experts, fusedAttention, gatedFeedForward, plainFeedForward, queryKeyNorms, stateSpace
} from "./tiny-blocks.js";
import {gains, type TinyModelWriter} from "./tiny-model-writer.js";
import {vocabSize} from "./tiny-vocab.js";

/**
 * One function an architecture of llama.cpp: the metadata and tensors that its `load_arch_hparams` and `load_arch_tensors`
 * (src/models/*.cpp of the pinned release) ask for, beyond those that every model has.
 */
export type Architecture = (model: TinyModelWriter) => void;

interface LlamaOptions {
    tied?: boolean;
    /** Experts in place of one feed-forward block; two are used a token. */
    expertCount?: number;
    queryKeyNorm?: boolean;
    attentionBias?: number;
    residual?: number;
    more?: Architecture;
}

/** Also what differs from llama in metadata or norms only: qwen2, qwen3, gemma, granite, deci. */
export function llama({tied = false, expertCount, queryKeyNorm = false, attentionBias, residual, more}: LlamaOptions = {}): Architecture {
    return (model) => {
        model.set("attention.layer_norm_rms_epsilon", f32(1e-5));
        if (expertCount !== undefined)
            model.set("expert_count", u32(expertCount)).set("expert_used_count", u32(2));

        more?.(model);
        if (tied)
            model.tiedEmbedding();
        else
            model.untiedEmbedding();
        model.rmsNorm("output_norm");

        eachLayer(model, (layer, name) => {
            model.rmsNorm(`${name}.ffn_norm`);
            if (expertCount === undefined)
                gatedFeedForward(model, layer, residual);
            else
                experts(model, layer, expertCount);

            if (model.heads(layer) === 0)
                return;

            model.rmsNorm(`${name}.attn_norm`);
            attention(model, layer, {
                ...(attentionBias === undefined ? {} : {bias: attentionBias}),
                ...(residual === undefined ? {} : {residual})
            });
            if (queryKeyNorm)
                queryKeyNorms(model, layer);
        });
    };
}

/** Divisors of the rotation's frequencies that grow towards the slow ones, as in Llama 3.1. */
/** LongRoPE: factors of their own for contexts that are longer than the original. */
export const longRope: Architecture = (model) => {
    const half = model.shape.rotated / 2, factors = (of: (dimension: number) => number) => Float32Array.from({length: half}, (_, dimension) => of(dimension));
    model.set("rope.scaling.type", text("longrope")).set("rope.scaling.original_context_length", u32(1024));
    model.gguf.tensor("rope_factors_long.weight", [half], "f32", factors((dimension) => 1 + 15 * dimension / half));
    model.gguf.tensor("rope_factors_short.weight", [half], "f32", factors(() => 1));
};

export const ropeFactors: Architecture = (model) => {
    const half = model.shape.rotated / 2;
    const factors = Float32Array.from({length: half}, (_, i) => 1 + 7 * (i / (half - 1)) ** 2);
    model.gguf.tensor("rope_freqs.weight", [half], "f32", factors);
};

export const yarn: Architecture = (model) => model
    .set("rope.scaling.type", text("yarn"))
    .set("rope.scaling.factor", f32(4))
    .set("rope.scaling.original_context_length", u32(2048));

export const graniteScales: Architecture = (model) => model
    .set("attention.scale", f32(0.2))
    .set("embedding_scale", f32(3))
    .set("residual_scale", f32(0.7))
    .set("logit_scale", f32(1.5));

export const ropeSections: Architecture = (model) => model
    .set("rope.dimension_sections", array.i32([8, 12, 12, 0]));

export const bloom: Architecture = (model) => {
    model
        .set("attention.layer_norm_epsilon", f32(1e-5))
        .tiedEmbedding()
        .layerNorm("token_embd_norm")
        .layerNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.layerNorm(`${name}.attn_norm`).layerNorm(`${name}.ffn_norm`);
        fusedAttention(model, layer);
        plainFeedForward(model, layer);
    });
};

export const gptneox: Architecture = (model) => {
    model
        .set("attention.layer_norm_epsilon", f32(1e-5))
        .set("use_parallel_residual", bool(true))
        .untiedEmbedding()
        .layerNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.layerNorm(`${name}.attn_norm`).layerNorm(`${name}.ffn_norm`);
        fusedAttention(model, layer);
        plainFeedForward(model, layer);
    });
};

export const phi2: Architecture = (model) => {
    model
        .set("attention.layer_norm_epsilon", f32(1e-5))
        .untiedEmbedding()
        .bias("output", vocabSize)
        .layerNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.layerNorm(`${name}.attn_norm`);
        attention(model, layer, {bias: 0.1, outputBias: true});
        plainFeedForward(model, layer);
    });
};

/** One matrix gives query, key and value, another both halves of the gated feed-forward block. */
export const phi3: Architecture = (model) => {
    const {embed, feedForward, keyLength, valueLength} = model.shape;
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        const length = model.heads(layer) * keyLength + model.kvHeads(layer) * (keyLength + valueLength);
        model
            .rmsNorm(`${name}.attn_norm`)
            .rmsNorm(`${name}.ffn_norm`)
            .matrix(`${name}.attn_qkv`, [embed, length], gains.queryKey)
            .matrix(`${name}.ffn_up`, [embed, 2 * feedForward], 1.5)
            .matrix(`${name}.ffn_down`, [feedForward, embed], gains.residual);
        attentionOutput(model, layer);
    });
};

export const stablelm: Architecture = (model) => {
    model
        .set("attention.layer_norm_epsilon", f32(1e-5))
        .untiedEmbedding()
        .layerNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.layerNorm(`${name}.attn_norm`).layerNorm(`${name}.ffn_norm`);
        attention(model, layer);
        gatedFeedForward(model, layer);
    });
};

/**
 * Latent queries, keys and values, decompressed before they reach the cache; the rotated dimensions are a head's last ones.
 * (plm is simpler and alike, but this release aborts on it: src/models/plm.cpp:135 flattens the values' heads, cpy_v wants them apart.)
 */
export const minicpm3: Architecture = (model) => {
    const {embed, keyLength, valueLength, rotated} = model.shape;
    const [queryLatent, latent] = [64, 64];

    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .set("attention.q_lora_rank", u32(queryLatent))
        .set("attention.kv_lora_rank", u32(latent))
        // The graph multiplies embeddings by 12.
        .untiedEmbedding(0.5 / 12)
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        const heads = model.heads(layer);
        model
            .rmsNorm(`${name}.attn_norm`)
            .rmsNorm(`${name}.ffn_norm`)
            .matrix(`${name}.attn_q_a`, [embed, queryLatent])
            .rmsNorm(`${name}.attn_q_a_norm`, queryLatent)
            .matrix(`${name}.attn_q_b`, [queryLatent, heads * keyLength], gains.queryKey)
            .matrix(`${name}.attn_kv_a_mqa`, [embed, latent + rotated], gains.queryKey)
            .rmsNorm(`${name}.attn_kv_a_norm`, latent)
            .matrix(`${name}.attn_kv_b`, [latent, heads * (keyLength - rotated + valueLength)], gains.queryKey);
        attentionOutput(model, layer);
        gatedFeedForward(model, layer);
    });
};

/**
 * A draft model's architecture. With its own embedding and output, and tokens as input, it is qwen3 with attention sink logits.
 * Its graph ignores which tokens' logits are asked for (no build_inp_out_ids): ask for all of a batch, or for one token alone.
 */
export const dflash: Architecture = (model) => {
    const {embed} = model.shape;
    llama({
        queryKeyNorm: true,
        more: () => model
            .set("target_layers", array.i32([0]))
            .matrix("fc", [embed, embed])
            .rmsNorm("enc.output_norm")
    })(model);
    eachLayer(model, (layer) => sinkLogits(model, layer));
};

/** Latent attention absorbed into the query: the cache holds one key of latent + rotated dimensions and no value. */
export const deepseek2: Architecture = (model) => {
    const {embed, keyLength, valueLength: latent, rotated} = model.shape;
    const queryLatent = 64;
    const [unrotated, value] = [64, 64];

    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .set("attention.q_lora_rank", u32(queryLatent))
        .set("attention.kv_lora_rank", u32(latent))
        .set("attention.key_length_mla", u32(unrotated + rotated))
        .set("attention.value_length_mla", u32(value))
        .set("leading_dense_block_count", u32(model.shape.layers))
        .set("expert_feed_forward_length", u32(0))
        .set("expert_shared_count", u32(0))
        .set("expert_weights_scale", f32(1))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        const heads = model.heads(layer);
        model
            .rmsNorm(`${name}.attn_norm`)
            .rmsNorm(`${name}.ffn_norm`)
            .matrix(`${name}.attn_q_a`, [embed, queryLatent])
            .rmsNorm(`${name}.attn_q_a_norm`, queryLatent)
            .matrix(`${name}.attn_q_b`, [queryLatent, heads * (unrotated + rotated)], gains.queryKey)
            .matrix(`${name}.attn_kv_a_mqa`, [embed, keyLength], gains.queryKey)
            .rmsNorm(`${name}.attn_kv_a_norm`, latent)
            .matrix(`${name}.attn_k_b`, [unrotated, latent, heads])
            .matrix(`${name}.attn_v_b`, [latent, value, heads])
            .matrix(`${name}.attn_output`, [heads * value, embed], 2 * gains.residual);
        gatedFeedForward(model, layer);
    });
};

export const gemma2: Architecture = (model) => {
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .set("attention.sliding_window", u32(64))
        .set("attn_logit_softcapping", f32(5))
        .set("final_logit_softcapping", f32(30))
        .tiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model
            .rmsNorm(`${name}.attn_norm`)
            .rmsNorm(`${name}.post_attention_norm`, undefined, 4)
            .rmsNorm(`${name}.ffn_norm`)
            .rmsNorm(`${name}.post_ffw_norm`, undefined, 4);
        attention(model, layer);
        gatedFeedForward(model, layer);
    });
};

export const gptOss: Architecture = (model) => {
    const {embed, feedForward} = model.shape;
    const count = 4;

    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .set("attention.sliding_window", u32(64))
        .set("expert_count", u32(count))
        .set("expert_used_count", u32(2))
        .set("expert_feed_forward_length", u32(feedForward))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model.rmsNorm(`${name}.attn_norm`).rmsNorm(`${name}.post_attention_norm`);
        attention(model, layer, {bias: 0.1, outputBias: true});
        sinkLogits(model, layer);
        experts(model, layer, count);
        model.bias(`${name}.ffn_gate_inp`, count);
        for (const [part, length] of [["gate", feedForward], ["up", feedForward], ["down", embed]] as const)
            model.gguf.tensor(`${name}.ffn_${part}_exps.bias`, [length, count], "f32", model.random.fill(length * count, 0.1));
    });
};

export const grok: Architecture = (model) => {
    const count = 4;

    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .set("attention.output_scale", f32(1 / Math.sqrt(model.shape.keyLength)))
        .set("attn_logit_softcapping", f32(5))
        .set("embedding_scale", f32(2))
        .set("logit_scale", f32(1))
        .set("expert_count", u32(count))
        .set("expert_used_count", u32(2))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (layer, name) => {
        model
            .rmsNorm(`${name}.attn_norm`)
            .rmsNorm(`${name}.attn_output_norm`)
            .rmsNorm(`${name}.ffn_norm`)
            .rmsNorm(`${name}.layer_output_norm`);
        attention(model, layer);
        experts(model, layer, count);
    });
};

export const mamba: Architecture = (model) => {
    const {embed} = model.shape;
    const [inner, state, kernel, rank] = [2 * embed, 16, 4, embed / 16];

    stateSpace(model, {kernel, inner, state, rank});
    model
        .set("attention.layer_norm_rms_epsilon", f32(1e-5))
        .untiedEmbedding()
        .rmsNorm("output_norm");
    eachLayer(model, (_layer, name) => {
        // State space models decay by exp(a * step): a is negative, and the bias makes the steps small.
        const decay = Float32Array.from({length: state * inner}, (_, i) => -(1 + i % state));
        model
            .rmsNorm(`${name}.attn_norm`)
            .matrix(`${name}.ssm_in`, [embed, 2 * inner], 1.5)
            .bias(`${name}.ssm_conv1d`, inner)
            .matrix(`${name}.ssm_x`, [inner, rank + 2 * state], 1.5)
            .matrix(`${name}.ssm_dt`, [rank, inner])
            .vector(`${name}.ssm_dt.bias`, inner, {mean: -4, deviation: 1})
            .vector(`${name}.ssm_d`, inner, {mean: 1, deviation: 0.1})
            .matrix(`${name}.ssm_out`, [inner, embed], 2 * gains.residual);
        model.gguf
            .tensor(`${name}.ssm_conv1d.weight`, [kernel, inner], "f32", model.random.fill(kernel * inner, 0.5))
            .tensor(`${name}.ssm_a`, [state, inner], "f32", decay);
    });
};

/** About the logarithm of what a query's other weights sum to, so that the sink takes a share worth measuring. */
function sinkLogits(model: TinyModelWriter, layer: number): void {
    model.vector(`blk.${layer}.attn_sinks.weight`, model.heads(layer), {mean: 6, deviation: 1.5});
}

export function eachLayer(model: TinyModelWriter, build: (layer: number, name: string) => void): void {
    for (let layer = 0; layer < model.shape.layers; layer++)
        build(layer, `blk.${layer}`);
}
