import {array, bool, text, u32, type GgufWriter} from "./gguf-writer.js";

const tokenTypes = {normal: 1, unknown: 2, control: 3, byte: 6} as const;

export const vocabSize = 384;
export const bosToken = 1;
export const eosToken = 2;
/** Tokens from here on are neither special nor lone bytes. */
export const firstPieceToken = 3 + 256;

interface VocabToken {
    text: string;
    type: number;
    score: number;
}

/** A SentencePiece vocabulary (tokenizer model "llama"): its byte tokens make every text representable. */
export function writeVocab(gguf: GgufWriter): void {
    const tokens: VocabToken[] = [
        {text: "<unk>", type: tokenTypes.unknown, score: 0},
        {text: "<s>", type: tokenTypes.control, score: 0},
        {text: "</s>", type: tokenTypes.control, score: 0}
    ];
    for (let byte = 0; byte < 256; byte++)
        tokens.push({text: `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, type: tokenTypes.byte, score: 0});

    const listed = pieces();
    for (let i = 0; tokens.length < vocabSize; i++)
        tokens.push({text: listed[i]!, type: tokenTypes.normal, score: -1 - i});

    gguf
        .set("tokenizer.ggml.model", text("llama"))
        .set("tokenizer.ggml.tokens", array.text(tokens.map((token) => token.text)))
        .set("tokenizer.ggml.scores", array.f32(tokens.map((token) => token.score)))
        .set("tokenizer.ggml.token_type", array.i32(tokens.map((token) => token.type)))
        .set("tokenizer.ggml.bos_token_id", u32(bosToken))
        .set("tokenizer.ggml.eos_token_id", u32(eosToken))
        .set("tokenizer.ggml.unknown_token_id", u32(0))
        .set("tokenizer.ggml.add_bos_token", bool(true));
}

/** Merged pieces first: the tokenizer takes the merge with the highest score. */
function pieces(): string[] {
    const merged = "▁t ▁a he in ▁s er ▁w ▁o re on nd ▁the ▁and at ou it ing ▁in".split(" ");
    const letters = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"];
    const marks = [...".,;:!?'\"()[]{}<>+-*/=_#@&%$^~|\\`▁"];
    const accented = [..."àáâãäåæçèéêëìíîïñòóôõöøùúûüß"];

    return [...merged, ...letters, ...marks, ...accented];
}
