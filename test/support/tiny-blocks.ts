import {u32} from "./gguf-writer.js";
import {gains, type TinyModelWriter} from "./tiny-model-writer.js";

interface AttentionOptions {
    /** Deviation of the biases of queries, keys and values; a large one gives keys a mean, as those of real models have. */
    bias?: number;
    outputBias?: boolean;
    residual?: number;
}

export function attention(model: TinyModelWriter, layer: number, {bias, outputBias = false, residual}: AttentionOptions = {}): void {
    const {embed, keyLength, valueLength} = model.shape;
    const name = `blk.${layer}`;
    const lengths = {
        q: model.heads(layer) * keyLength,
        k: model.kvHeads(layer) * keyLength,
        v: model.kvHeads(layer) * valueLength
    };

    model
        .matrix(`${name}.attn_q`, [embed, lengths.q], gains.queryKey)
        .matrix(`${name}.attn_k`, [embed, lengths.k], gains.queryKey)
        .matrix(`${name}.attn_v`, [embed, lengths.v]);
    if (bias !== undefined) {
        model
            .bias(`${name}.attn_q`, lengths.q, bias)
            .bias(`${name}.attn_k`, lengths.k, bias)
            .bias(`${name}.attn_v`, lengths.v, bias);
    }

    attentionOutput(model, layer, {outputBias, ...(residual === undefined ? {} : {residual})});
}

/** One matrix gives query, key and value, whose rows are then strided views of its result. */
export function fusedAttention(model: TinyModelWriter, layer: number): void {
    const {embed, keyLength, valueLength} = model.shape;
    const length = model.heads(layer) * keyLength + model.kvHeads(layer) * (keyLength + valueLength);

    model
        .matrix(`blk.${layer}.attn_qkv`, [embed, length], gains.queryKey)
        .bias(`blk.${layer}.attn_qkv`, length);
    attentionOutput(model, layer, {outputBias: true});
}

export function attentionOutput(
    model: TinyModelWriter, layer: number, {outputBias = false, residual = gains.residual}: AttentionOptions = {}
): void {
    const {embed, valueLength} = model.shape;
    // Averaging values over several tokens shrinks them; hence the 2.
    model.matrix(`blk.${layer}.attn_output`, [model.heads(layer) * valueLength, embed], 2 * residual);
    if (outputBias)
        model.bias(`blk.${layer}.attn_output`, embed);
}

/** Norms of each query and key head; their gain replaces that of the matrices before them. */
export function queryKeyNorms(model: TinyModelWriter, layer: number): void {
    const {keyLength} = model.shape;
    model
        .rmsNorm(`blk.${layer}.attn_q_norm`, keyLength, gains.queryKey)
        .rmsNorm(`blk.${layer}.attn_k_norm`, keyLength, gains.queryKey);
}

export function gatedFeedForward(model: TinyModelWriter, layer: number, residual = gains.residual): void {
    const {embed, feedForward} = model.shape;
    model
        .matrix(`blk.${layer}.ffn_gate`, [embed, feedForward], 1.5)
        .matrix(`blk.${layer}.ffn_up`, [embed, feedForward], 1.5)
        .matrix(`blk.${layer}.ffn_down`, [feedForward, embed], residual);
}

export function plainFeedForward(model: TinyModelWriter, layer: number): void {
    const {embed, feedForward} = model.shape;
    model
        .matrix(`blk.${layer}.ffn_up`, [embed, feedForward], 1.5)
        .bias(`blk.${layer}.ffn_up`, feedForward)
        .matrix(`blk.${layer}.ffn_down`, [feedForward, embed], gains.residual)
        .bias(`blk.${layer}.ffn_down`, embed);
}

export function experts(model: TinyModelWriter, layer: number, count: number): void {
    const {embed, feedForward} = model.shape;
    model
        .matrix(`blk.${layer}.ffn_gate_inp`, [embed, count])
        .matrix(`blk.${layer}.ffn_gate_exps`, [embed, feedForward, count], 1.5)
        .matrix(`blk.${layer}.ffn_up_exps`, [embed, feedForward, count], 1.5)
        .matrix(`blk.${layer}.ffn_down_exps`, [feedForward, embed, count], gains.residual);
}

export interface StateSpace {
    kernel: number;
    inner: number;
    state: number;
    rank: number;
    groups?: number;
}

/** Metadata of layers that are state space models. */
export function stateSpace(model: TinyModelWriter, {kernel, inner, state, rank, groups}: StateSpace): void {
    model
        .set("ssm.conv_kernel", u32(kernel))
        .set("ssm.inner_size", u32(inner))
        .set("ssm.state_size", u32(state))
        .set("ssm.time_step_rank", u32(rank));
    if (groups !== undefined) model.set("ssm.group_count", u32(groups));
}
