import {createHash, randomUUID} from "node:crypto";
import {existsSync, readdirSync, readFileSync} from "node:fs";
import {mkdir, rename} from "node:fs/promises";
import {dirname, join} from "node:path";
import {
    bloom, deepseek2, dflash, gemma2, gptneox, gptOss, graniteScales, grok, llama, mamba, minicpm3, phi2, phi3, ropeFactors, ropeSections, stablelm, yarn,
    type Architecture
} from "./tiny-architectures.js";
import {dist} from "./paths.js";
import {gemma3, gemma4, graniteHybrid, lfm2, qwen35} from "./tiny-compound-architectures.js";
import {TinyModelWriter, type TinyShape} from "./tiny-model-writer.js";

export interface TinyModel {
    name: string;
    /** `general.architecture` */
    architecture: string;
    /** What only this model has. */
    why: string;
    /** The node-llama-cpp from which on llama.cpp reads this form of it. */
    since?: readonly number[];
    /** Whether the packed cache must serve it; the others must be refused, or left to the stock cache. */
    supported: boolean;
    write(path: string): Promise<void>;
}

export const tinyModels: readonly TinyModel[] = [
    supported("llama-multi-head", "llama", "as many KV heads as query heads, tied output", {heads: 4, kvHeads: 4}, llama({tied: true})),
    supported("llama-wide-group", "llama", "16 query heads on one KV head, untied output", {heads: 16, kvHeads: 1}, llama()),
    supported("llama-head-128", "llama", "head size 128, grouped", {heads: 4, kvHeads: 2, headLength: 128}, llama()),
    supported("gemma-head-256", "gemma", "head size 256, the query scaled before the op, whose own scale is 1, tied output", {
        heads: 4, kvHeads: 2, headLength: 256, layers: 2
    }, llama({tied: true, residual: 5})),
    supported("llama-experts", "llama", "mixture of 4 experts", {feedForward: 128}, llama({expertCount: 4})),
    supported("bloom-alibi", "bloom", "ALiBi slopes instead of rotation, values strided in one QKV matrix", {
        embed: 256, kvHeads: 4
    }, bloom),
    {...supported("dflash-sinks", "dflash", "attention sink logits; of all architectures that have them, the one whose cache is plain", {
        heads: 8
    }, dflash), since: [3, 21]},
    supported("minicpm3-key-128-value-64", "minicpm3", "keys longer than values, the last dimensions of a key rotated", {
        embed: 256, kvHeads: 4, keyLength: 128, valueLength: 64, rotated: 64
    }, minicpm3),
    supported("minicpm3-key-192-value-128", "minicpm3", "head sizes divisible by 64 of which one is no power of two", {
        embed: 256, kvHeads: 4, keyLength: 192, valueLength: 128, rotated: 64
    }, minicpm3),
    supported("qwen3-norms", "qwen3", "query and key norms, NEOX rotation", {headLength: 128}, llama({queryKeyNorm: true})),
    supported("qwen2-biases", "qwen2", "biases that give keys a mean, NEOX rotation, tied output", {
        embed: 256
    }, llama({tied: true, attentionBias: 1})),
    supported("gptneox-partial-rotation", "gptneox", "16 of 64 dimensions rotate, NEOX; attention beside the feed-forward block", {
        embed: 256, kvHeads: 4, rotated: 16
    }, gptneox),
    supported("phi2-partial-rotation", "phi2", "32 of 64 dimensions rotate, NEOX; the op's scale is 1", {
        embed: 256, kvHeads: 4, rotated: 32
    }, phi2),
    supported("llama-rope-factors", "llama", "rotation frequencies divided by a tensor of factors", {}, llama({more: ropeFactors})),
    supported("llama-yarn", "llama", "YaRN scaled rotation", {}, llama({more: yarn})),
    supported("granite-scale", "granite", "the op's scale comes from metadata", {}, llama({more: graniteScales})),
    supported("qwen2vl-sections", "qwen2vl", "rotation by sections (M-RoPE), which llama.cpp doesn't shift", {
        embed: 256
    }, llama({attentionBias: 0.3, more: ropeSections})),
    supported("deci-uneven-heads", "deci", "another number of KV heads in each layer", {heads: 4, kvHeads: [4, 1, 2]}, llama()),
    supported("deci-layer-without-attention", "deci", "a layer that has neither heads nor cache", {
        heads: [4, 0, 4], kvHeads: [2, 0, 2]
    }, llama()),

    supported("phi2-head-80", "phi2", "head size 80 of which 32 dimensions rotate, as Phi-2 has it", {
        embed: 320, kvHeads: 4, headLength: 80, rotated: 32
    }, phi2),
    supported("phi3-head-96", "phi3", "head size 96, as Phi-3-mini has it", {embed: 384, kvHeads: 4, headLength: 96}, phi3),
    supported("stablelm-head-80", "stablelm", "head size 80 of which 20 dimensions rotate, as Stable Code has it", {
        embed: 320, kvHeads: 4, headLength: 80, rotated: 20
    }, stablelm),
    supported("bloom-head-112", "bloom", "head size 112, ALiBi slopes", {embed: 448, kvHeads: 4, headLength: 112}, bloom),
    supported("llama-head-72", "llama", "head size 72, no multiple of 16, one KV head", {kvHeads: 1, headLength: 72}, llama()),
    supported("llama-head-32", "llama", "head size below 64", {heads: 8, kvHeads: 2, headLength: 32}, llama()),
    supported("dflash-sinks-head-96", "dflash", "head size 96, attention sink logits", {heads: 8, headLength: 96}, dflash),
    supported("minicpm3-key-96-value-64", "minicpm3", "keys of 96, values of 64, the last dimensions of a key rotated", {
        embed: 256, kvHeads: 4, keyLength: 96, valueLength: 64, rotated: 32
    }, minicpm3),
    supported("gemma2-head-80", "gemma2", "head size 80, sliding window, soft cap in the attention op", {headLength: 80}, gemma2),

    supported("deepseek2-latent", "deepseek2", "latent keys, whose first dimensions are the values (MLA)", {
        kvHeads: 1, keyLength: 192, valueLength: 128, rotated: 64
    }, deepseek2),
    supported("deepseek2-latent-576", "deepseek2", "latent keys of 576 for 20 query heads, as GLM-4.7-Flash has it", {
        layers: 2, heads: 20, kvHeads: 1, keyLength: 576, valueLength: 512, rotated: 64
    }, deepseek2),

    supported("gemma2-soft-cap", "gemma2", "sliding window in every other layer, soft cap in the attention op", {}, gemma2),
    supported("gemma3", "gemma3", "sliding window in five of six layers", {layers: 7, headLength: 128}, gemma3),
    supported("gemma4", "gemma4", "sliding window; heads of 512 elements whose values are their keys, beside heads of 256", {
        layers: 6, headLength: 512, kvHeads: [2, 2, 1, 2, 2, 1]
    }, gemma4()),
    supported("gemma4-shared", "gemma4", "sliding window; the last layers take the rows of layers before them", {
        layers: 9, headLength: 512, kvHeads: [2, 2, 1, 2, 2, 1, 2, 2, 1]
    }, gemma4(3)),
    supported("gpt-oss-sinks", "gpt-oss", "sliding window, attention sink logits", {feedForward: 128}, gptOss),
    supported("lfm2", "lfm2", "layers that are short convolutions", {layers: 4, embed: 256, kvHeads: [0, 2, 0, 2]}, lfm2()),
    supported("qwen35", "qwen35", "layers that are gated delta nets, M-RoPE", {layers: 4, embed: 256, headLength: 128, rotated: 64}, qwen35),
    supported("granite-hybrid", "granitehybrid", "layers that are state space models (Mamba 2)", {layers: 4, kvHeads: [0, 2, 0, 2]}, graniteHybrid),

    // grok's soft cap is not in the attention op: llama.cpp turns flash attention off there (src/llama-context.cpp:3757).
    refused("grok-soft-cap", "grok", "soft cap outside of the attention op, flash attention forced off", {
        embed: 256, feedForward: 128
    }, grok),
    refused("lfm2-window", "lfm2", "recurrent layers beside layers with a sliding window", {
        layers: 4, embed: 256, kvHeads: [0, 2, 0, 2]
    }, lfm2({slides: true})),
    refused("mamba", "mamba", "recurrent memory", {heads: 0, kvHeads: 0}, mamba),
    refused("llama-head-36", "llama", "head size not divisible by 8", {headLength: 36}, llama())
];

/** Of LFM2-350M's shape, for benches: it is as fast as real weights are, but for its small vocabulary. No test needs it. */
export const randomHybrid = supported("lfm2-350m-random", "lfm2", "6 of 16 layers attend, the others are short convolutions", {
    layers: 16, embed: 1024, feedForward: 4608, heads: 16, kvHeads: [0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0]
}, lfm2());

export function tinyModel(name: string): TinyModel {
    const model = tinyModels.find((one) => one.name === name);
    if (model === undefined)
        throw new Error(`no tiny model "${name}"; there are: ${tinyModels.map((one) => one.name).join(", ")}`);

    return model;
}

/** Path of the model's file, written on first use and kept as long as the code that describes the models stays as it is. */
export async function tinyModelPath(model: TinyModel): Promise<string> {
    const path = join(packageRoot(), "build", "models", contentVersion(), `${model.name}.gguf`);
    if (existsSync(path))
        return path;

    // Test files are processes of their own: none may find another's half-written file.
    const unfinished = `${path}.${randomUUID()}`;
    await mkdir(dirname(path), {recursive: true});
    await model.write(unfinished);
    await rename(unfinished, path);
    return path;
}

interface ShapeOptions extends Partial<Omit<TinyShape, "keyLength" | "valueLength">> {
    headLength?: number;
    keyLength?: number;
    valueLength?: number;
}

function shape({headLength = 64, keyLength = headLength, valueLength = headLength, ...options}: ShapeOptions): TinyShape {
    return {
        layers: 3,
        embed: 128,
        feedForward: 256,
        heads: 4,
        kvHeads: 2,
        keyLength,
        valueLength,
        rotated: keyLength,
        ...options
    };
}

function supported(name: string, architecture: string, why: string, options: ShapeOptions, build: Architecture): TinyModel {
    return define(name, architecture, why, options, build, true);
}

function refused(name: string, architecture: string, why: string, options: ShapeOptions, build: Architecture): TinyModel {
    return define(name, architecture, why, options, build, false);
}

function define(
    name: string, architecture: string, why: string, options: ShapeOptions, build: Architecture, isSupported: boolean
): TinyModel {
    return {
        name,
        architecture,
        why,
        supported: isSupported,
        async write(path) {
            const model = new TinyModelWriter(architecture, shape(options), createHash("sha256").update(name).digest().readUInt32LE());
            build(model);
            await model.gguf.write(path);
        }
    };
}

let version: string | undefined;

function contentVersion(): string {
    if (version === undefined) {
        const hash = createHash("sha256").update(readFileSync(new URL(dist("models/gguf-writer.js"))));
        for (const file of readdirSync(import.meta.dirname).sort()) {
            if (/^(tiny-(?!models\.check)|gaussian).*\.[jt]s$/.test(file))
                hash.update(readFileSync(join(import.meta.dirname, file)));
        }

        version = hash.digest("hex").slice(0, 12);
    }

    return version;
}

function packageRoot(): string {
    let folder = import.meta.dirname;
    while (!existsSync(join(folder, "package.json")))
        folder = dirname(folder);

    return folder;
}
