/**
 * Loads each tiny model in stock node-llama-cpp and shows that it is worth comparing caches on: its logits are finite,
 * neither certain nor uniform, and depend on tokens far back. `node build/js/test/support/tiny-models.check.js [name...]`
 */
import {statSync} from "node:fs";
import {getLlama, LlamaLogLevel, type Llama, type LlamaContextSequence, type Token} from "node-llama-cpp";
import {Gaussian} from "./gaussian.js";
import {tinyModel, tinyModelPath, tinyModels, type TinyModel} from "./tiny-models.js";
import {bosToken, firstPieceToken, vocabSize} from "./tiny-vocab.js";

const promptLength = 100;
const changedToken = 5;

interface Finding {
    memory: string;
    flashAttention: boolean;
    entropy: number;
    top: number;
    divergence: number;
    sameText: boolean;
}

const log: string[] = [];
const llama = await getLlama({
    gpu: false,
    logLevel: LlamaLogLevel.info,
    logger: (_level, message) => void log.push(message)
});
const names = process.argv.slice(2);
const models = names.length > 0 ? names.map(tinyModel) : tinyModels;

let failures = 0;
for (const model of models) {
    const path = await tinyModelPath(model);
    const size = `${(statSync(path).size / 2 ** 20).toFixed(1)} MiB`;
    log.length = 0;

    try {
        const found = await examine(llama, path);
        const complaints = complain(model, found);
        failures += complaints.length > 0 ? 1 : 0;
        console.log([
            model.name.padEnd(30), model.supported ? "supported" : "refused  ", size.padStart(8),
            found.memory.padEnd(24), found.flashAttention ? "flash" : "no fl", `entropy ${found.entropy.toFixed(2)}`,
            `top ${found.top}`.padEnd(7), `early token ${found.divergence.toExponential(1)} nats`, ...complaints
        ].join("  "));
    } catch (error) {
        failures++;
        console.log(model.name.padEnd(30), "FAILED", error, log.filter((line) => /error|fail|missing/i.test(line)));
    }
}

await llama.dispose();
process.exitCode = failures > 0 ? 1 : 0;

async function examine(llama: Llama, modelPath: string): Promise<Finding> {
    const model = await llama.loadModel({modelPath, gpuLayers: 0});
    try {
        const sample = "The cat sat on the mat, naïvely: 42!\n";
        const sameText = model.detokenize(model.tokenize(sample)).trim() === sample.trim();
        const context = await model.createContext({contextSize: 512, flashAttention: true, threads: 1});
        const sequence = context.getSequence();

        const random = new Gaussian(1);
        const randomToken = () => firstPieceToken + random.integer(vocabSize - firstPieceToken);
        const prompt = [bosToken, ...Array.from({length: promptLength - 1}, randomToken)];
        const changed = [...prompt];
        changed[changedToken] = prompt[changedToken] === firstPieceToken ? firstPieceToken + 1 : firstPieceToken;

        const before = await nextToken(sequence, prompt as Token[]);
        await sequence.clearHistory();
        const after = await nextToken(sequence, changed as Token[]);

        return {
            memory: memoryClass(),
            flashAttention: !log.some((line) => /forcing off|flash_attn\s*=\s*disabled/.test(line)),
            entropy: -sum(before, (p) => p > 0 ? p * Math.log(p) : 0),
            top: before.indexOf(Math.max(...before)),
            divergence: sum(before, (p, token) => p > 0 ? p * Math.log(p / after[token]!) : 0),
            sameText
        };
    } finally {
        await model.dispose();
    }
}

async function nextToken(sequence: LlamaContextSequence, prompt: Token[]): Promise<number[]> {
    // The last token in a batch of its own, since dflash returns the logits of a batch's first.
    await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1));
    const [result] = await sequence.controlledEvaluate([
        [prompt.at(-1)!, {generateNext: {probabilities: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}}}]
    ]);
    const probabilities = result!.next.probabilities!;

    return Array.from({length: vocabSize}, (_, token) => probabilities.get(token as Token) ?? NaN);
}

function complain(model: TinyModel, found: Finding): string[] {
    return [
        ...(found.entropy > 1 && found.entropy < Math.log(vocabSize) - 0.3 ? [] : ["DEGENERATE"]),
        ...(found.divergence > 1e-3 ? [] : ["DEAF TO EARLY TOKENS"]),
        ...(found.sameText ? [] : ["TOKENIZER LOSES TEXT"]),
        ...(model.supported && !found.flashAttention ? ["NO FLASH ATTENTION"] : [])
    ];
}

/** The most particular memory class that llama.cpp's log of the context's creation names. */
function memoryClass(): string {
    const named = log.map((line) => /^(llama_(?:kv_cache|memory)\w*): /.exec(line)?.[1]).filter((name) => name !== undefined);
    return named.find((name) => name !== "llama_kv_cache") ?? named[0] ?? "none";
}

function sum(values: readonly number[], term: (value: number, index: number) => number): number {
    return values.reduce((total, value, index) => total + term(value, index), 0);
}
