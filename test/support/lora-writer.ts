import {Gaussian} from "./gaussian.js";
import {f32, GgufWriter, text} from "./gguf-writer.js";

const rank = 4;
/** The length of the tiny models' residual stream. */
const embed = 128;

/** Writes an adapter (LoRA) of random weights for the first layer's keys and values of a tiny llama model. Those of other seeds have the same size. */
export async function writeLora(path: string, seed: number, {kvHeads, headLength}: {kvHeads: number; headLength: number}): Promise<void> {
    const random = new Gaussian(seed), gguf = new GgufWriter(), length = kvHeads * headLength;
    gguf.set("general.type", text("adapter")).set("general.architecture", text("llama")).set("adapter.type", text("lora")).set("adapter.lora.alpha", f32(rank));
    for (const name of ["blk.0.attn_k.weight", "blk.0.attn_v.weight"])
        gguf.tensor(`${name}.lora_a`, [embed, rank], "f32", random.fill(embed * rank, 0.2)).tensor(`${name}.lora_b`, [rank, length], "f32", random.fill(rank * length, 0.2));
    await gguf.write(path);
}
