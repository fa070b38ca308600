import {attach} from "llama-deltastore";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
import t from "tap";
import {generate, openLlama, randomTokens} from "../support/engine.js";
import {builtInTiers, plan} from "../support/plan.js";
import {loadTiny, tinyPath} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

t.setTimeout(600_000);

/** Of what a slab holds: on a tiny model one more or less is some percent. */
const slack = 0.02, slabBytes = 512 * 1024;

const model = {file: await tinyPath()}, users = {active: 1};
/** A machine on which all sequences of a scenario are in memory at once. */
const machine = {name: "h200"};

const cases = [
    {sequences: 1, lengths: [2048], tiers: [...builtInTiers.keys()]}, {sequences: 16, lengths: [512], tiers: ["exact", "high", "conservative", "ultra"]}
];
for (const {sequences, lengths, tiers} of cases) {
    t.test(`bytes of ${sequences} sequences are those of a context`, async (t) => {
        const llama = await openLlama();
        t.teardown(() => llama.dispose());
        const store = await attach(llama, {policy: {sharing: {kept: "1GiB"}}}), loaded = await loadTiny(llama);
        for (const tokens of lengths)
            for (const sharedTokens of [0, 0.75 * tokens]) {
                const {caches} = await plan({model, machine, users: {...users, count: sequences}, context: {tokens, sharedTokens}, caches: tiers as [string]});
                for (const {name, bytesShared} of caches) {
                    const context = await loaded.createContext({contextSize: tokens + 64, sequences, kvCache: name, batchSize: 512});
                    const held = Array.from({length: sequences}, () => context.getSequence()), beginning = randomTokens(Math.max(1, sharedTokens), 99);
                    if (sharedTokens > 0) {
                        await held[0]!.evaluateWithoutGeneratingNewTokens(beginning);
                        await held[0]!.clearHistory();
                    }
                    for (const [index, sequence] of held.entries())
                        await generate(sequence, sharedTokens > 0 ? [...beginning, ...randomTokens(tokens - sharedTokens + 1, index).slice(1)] : randomTokens(tokens, index), 1);
                    const {residentBytes} = store.stats(context), planned = bytesShared * sequences;
                    t.ok(held.every(({nextTokenIndex}) => nextTokenIndex >= tokens));
                    t.ok(Math.abs(planned - residentBytes) <= slack * residentBytes + slabBytes / 4, `${name}, ${tokens} tokens, ${sharedTokens} shared: ${residentBytes}, planned ${Math.round(planned)}`);
                    await context.dispose();
                }
            }
    });
}

const cacheTypes = {"stock-f16": "F16", "stock-q8_0": "Q8_0", "stock-q4_0": "Q4_0"} as const;

t.test("bytes of stock caches are what llama.cpp says that it allocates", async (t) => {
    const sequences = 3, lines: string[] = [];
    const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.debug, logger: (_, line) => lines.push(line)});
    t.teardown(() => llama.dispose());
    for (const name of ["llama-head-128", "gemma3", "lfm2", "deepseek2-latent"]) {
        const loaded = await loadTiny(llama, name), file = await tinyPath(name);
        for (const tokens of [200, 1000, 2560]) {
            const {caches} = await plan({model: {file}, machine, users: {...users, count: 1}, context: {tokens}, caches: Object.keys(cacheTypes) as [string]});
            for (const {name: cache, bytes} of caches) {
                const type = cacheTypes[cache as keyof typeof cacheTypes];
                lines.length = 0;
                const context = await loaded.createContext({
                    contextSize: tokens, sequences, batchSize: 512, flashAttention: true, experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type
                });
                await settled(100);  // the log comes by itself
                await context.dispose();
                const sizes = lines.flatMap((line) => /(?:KV|RS) buffer size = +([\d.]+) MiB/.exec(line)?.[1] ?? []).map(Number);
                const planned = sequences * bytes / 2 ** 20, allocated = sizes.reduce((all, size) => all + size, 0);
                t.ok(sizes.length > 0 && Math.abs(planned - allocated) <= 0.00501 * sizes.length, `${name}, ${cache}, ${tokens} tokens: ${allocated} MiB, planned ${planned}`);
            }
        }
        await loaded.dispose();
    }
});
