/**
 * Bytes that a plan computes, and those of real contexts: `npm run bench:plan-bytes -- [--model NAME|FILE] [--tokens 512,2048,8192] [--sequences 1,16]
 * [--out FILE]`, every tier, with nothing shared and with three quarters. What is in the file already isn't measured again.
 */
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import {parseArgs} from "node:util";
import type {Token} from "node-llama-cpp";
import type {PlanBytes} from "./plan-tables.js";
import {batchSize} from "./support/bench-model.js";
import {chosenModel, modelOption, resultsFile} from "./support/model-option.js";
import {dist} from "./support/package.js";
import {Runtime} from "./support/runtime.js";

const {values} = parseArgs({options: {
    ...modelOption, tokens: {type: "string", default: "512,2048,8192"}, sequences: {type: "string", default: "1,16"}, out: {type: "string"}
}});
const sharedShares = [0, 0.75], threads = 2;
const {plan} = await dist("plan/plan.js"), {builtInTiers} = await dist("policy/tiers.js");
await using runtime = await Runtime.open({threads, modelPath: () => chosenModel(values.model), policy: {sharing: {kept: "1TB"}}});
const {model, store, modelPath} = runtime;
const out = values.out ?? resultsFile("plan-bytes", values.model);
const points: PlanBytes[] = existsSync(out) ? JSON.parse(readFileSync(out, "utf8")) as PlanBytes[] : [];

/** Different for each name, and nothing like another's. */
const textOf = (name: string, count: number): Token[] => model.tokenize(Array.from({length: count}, (_, word) => `${name} ${word}`).join(", ")).slice(0, count);

async function residentBytes(tier: string, tokens: number, sequences: number, shared: number): Promise<number> {
    const context = await model.createContext({contextSize: tokens + 64, sequences, batchSize, threads, kvCache: tier, flashAttention: true});
    const all = Array.from({length: sequences}, () => context.getSequence()), beginning = textOf("shared", shared);
    if (shared > 0) {
        await all[0]!.evaluateWithoutGeneratingNewTokens(beginning);
        await all[0]!.clearHistory();  // now it is kept for all
    }
    for (const [index, sequence] of all.entries())
        for await (const _ of sequence.evaluate([...beginning, ...textOf(`own ${index}`, tokens - shared)], {temperature: 0})) break;  // after which rows are dropped
    if (all.some(({nextTokenIndex}) => nextTokenIndex < tokens)) throw new Error("a sequence lost its tokens");
    const bytes = store.stats(context).residentBytes;
    await context.dispose();
    return bytes;
}

for (const sequences of values.sequences.split(",").map(Number))
    for (const tokens of values.tokens.split(",").map(Number))
        for (const share of sharedShares)
            for (const tier of builtInTiers.keys()) {
                const sharedTokens = share * tokens, same = (point: PlanBytes) =>
                    point.tier === tier && point.tokens === tokens && point.sequences === sequences && point.sharedTokens === sharedTokens;
                if (points.some(same)) continue;
                const scenario = {model: {file: modelPath}, users: {count: sequences, active: 1}, context: {tokens, sharedTokens}, machine: {memory: "10TB"}};
                const {caches: [cache]} = await plan({...scenario, caches: [tier]});
                points.push({tier, tokens, sequences, sharedTokens, planned: Math.round(cache!.bytesShared * sequences), resident: await residentBytes(tier, tokens, sequences, sharedTokens)});
                const {planned, resident} = points.at(-1)!;
                console.log(`${tier.padEnd(12)} ${sequences} x ${tokens} tokens, ${sharedTokens} shared: ${resident} bytes, planned ${planned}, ${(100 * (planned / resident - 1)).toFixed(2)}%`);
                writeFileSync(out, JSON.stringify(points) + "\n");
            }
