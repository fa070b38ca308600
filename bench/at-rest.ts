/**
 * What saved conversations take of the bytes of their pages, for each page format: `npm run bench:at-rest -- [--model NAME|FILE] [--out FILE]`.
 * `deltastore plan` computes with the file that it writes.
 */
import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {parseArgs} from "node:util";
import type {AtRestFacts} from "../ts/plan/facts.js";
import {batchSize} from "./support/bench-model.js";
import {chosenModel, modelOption} from "./support/model-option.js";
import {dist, root} from "./support/package.js";
import {Runtime} from "./support/runtime.js";

const {values} = parseArgs({options: {...modelOption, out: {type: "string", default: path.join(root, "ts/plan/facts/at-rest.json")}}});
const lengths = [1024, 4096] as const;
const important = (format: string) => ({[`${format}r6`]: {format, important: {share: 0.1}}, [`${format}r14`]: {format, important: {share: 0.2}}});
const formats = {f16: {format: "f16"}, k4v4: {format: "k4v4"}, k4v2: {format: "k4v2"}, k3v2: {format: "k3v2"}, ...important("k4v2"), ...important("k3v2")};

const {MemoryStore} = await dist("turns/stores/memory.js");
const {nativeTier} = await dist("context/pack.js");
const policy = {tiers: formats, sharing: {automatic: false}} as never;
await using runtime = await Runtime.open({threads: 2, modelPath: () => chosenModel(values.model), policy});
const {model, store, native, shape} = runtime;
const {loadPolicy} = await dist("policy/load.js");
const tiers = loadPolicy(policy).tiers;
const text = model.tokenize(readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8"));

async function savedBytes(tier: string, tokens: number): Promise<number> {
    const context = await model.createContext({contextSize: tokens + 64, batchSize, threads: 2, kvCache: tier, flashAttention: true}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(text.slice(0, tokens));
    const turns = await store.openTurns({store: new MemoryStore()});
    await turns.save("alone", sequence);
    const bytes = await turns.bytes();
    await turns.close();
    await context.dispose();
    return bytes;
}

const shares: Record<string, number> = {}, windows: number[] = [];
for (const tier of Object.keys(formats)) {
    const [short, long] = [await savedBytes(tier, lengths[0]), await savedBytes(tier, lengths[1])];
    const [few, many] = lengths.map((tokens) => native.forecast(shape, nativeTier(tiers.get(tier)!), {sequences: 1, tokens, batchSize}).parts!);
    shares[tier] = Number(((long - short) / (many!.packed - few!.packed)).toFixed(4));
    const window = few!.window === 0 ? null : (short - shares[tier] * few!.packed - few!.sinks) / few!.window;
    if (window !== null) windows.push(window);
    console.log(`${tier.padEnd(10)} ${short} and ${long} bytes of ${lengths.join(" and ")} tokens: ${shares[tier]} of the packed pages, ${window?.toFixed(4) ?? "none"} of the window's`);
}
const file = path.basename(runtime.modelPath);
const facts: AtRestFacts = {
    formats: shares, window: Number((windows.reduce((all, part) => all + part, 0) / windows.length).toFixed(4)),
    source: `npm run bench:at-rest, ${file}, ${lengths.join(" and ")} tokens of WikiText-2`, date: new Date().toISOString().slice(0, 7)
};
writeFileSync(values.out, JSON.stringify(facts, null, 4) + "\n");
