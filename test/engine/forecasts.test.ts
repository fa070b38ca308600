import {attach} from "llama-deltastore";
import t from "tap";
import {generate, nativeBinding, openLlama, randomTokens} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {loadTiny, tinyPath, unshared} from "../support/tiny-engine.js";

const {outlineModel} = await import(dist("store/outline.js")) as typeof import("../../dist/store/outline.js");
const {nativeTier} = await import(dist("context/pack.js")) as typeof import("../../dist/context/pack.js");
const {batchOf} = await import(dist("store/model-report.js")) as typeof import("../../dist/store/model-report.js");
const {builtInTiers} = await import(dist("policy/tiers.js")) as typeof import("../../dist/policy/tiers.js");

t.setTimeout(300_000);

/** Models of each kind of memory that is served, and tokens of a sequence: less than is packed, a batch and a half, several batches. */
const cases: Record<string, number[]> = {
    "llama-head-128": [40, 700, 2500], "deci-uneven-heads": [700, 2500], gemma3: [40, 2500], "gemma4-shared": [700], lfm2: [40, 2500], qwen35: [700],
    "phi2-head-80": [700], "deepseek2-latent": [700]
};
/** With the windows of the tiny models, one more token would take more cells. */
const batchSize = 448;
const tiers = ["exact", "high", "conservative", "recommended"];

/** Of the packed part: which pages lie together in a slab depends on the order in which they were freed. */
const slack = 0.03;
/** Of windows: where their rows went, slabs have room until others take it. */
const openSlabs = 2 * 512 * 1024;

for (const [name, lengths] of Object.entries(cases)) {
    t.test(`what is forecast for ${name} is what a context takes`, async (t) => {
        const llama = await openLlama();
        t.teardown(() => llama.dispose());
        const store = await attach(llama, {policy: unshared}), model = await loadTiny(llama, name), native = await nativeBinding();
        const {shape, refusal} = await outlineModel(await tinyPath(name), builtInTiers.get("high")!);
        t.equal(refusal, null);
        for (const tokens of lengths) {
            for (const tier of tiers) {
                const context = await model.createContext({contextSize: tokens + 64, kvCache: tier, batchSize});
                await generate(context.getSequence(), randomTokens(tokens, 1), 1);
                const {residentBytes, stockBytes, bytesBeside} = store.stats(context);
                const forecast = native.forecast(shape, nativeTier(builtInTiers.get(tier)!), {sequences: 1, tokens, batchSize: batchOf(shape, batchSize)});
                t.equal(forecast.stockBytes, stockBytes, `${tier}, ${tokens} tokens: stock's`);
                t.equal(forecast.bytesBeside, bytesBeside, `${tier}, ${tokens} tokens: beside`);
                const difference = Math.abs(forecast.residentBytes! - residentBytes);
                t.ok(difference <= slack * (residentBytes - bytesBeside) + (shape.window > 0 ? openSlabs : 0), `${tier}, ${tokens} tokens: ${residentBytes}, forecast ${forecast.residentBytes}`);
                await context.dispose();
            }
        }
    });
}

t.test("what several sequences take is forecast, and what can't be is refused", async (t) => {
    const llama = await openLlama();
    t.teardown(() => llama.dispose());
    const store = await attach(llama, {policy: unshared}), model = await loadTiny(llama), native = await nativeBinding();
    const {shape} = await outlineModel(await tinyPath(), builtInTiers.get("high")!), high = nativeTier(builtInTiers.get("high")!);
    const load = {sequences: 3, tokens: 1000, batchSize: 512};
    const context = await model.createContext({contextSize: 1100, sequences: 3, kvCache: "high", batchSize: 512});
    const sequences = Array.from({length: load.sequences}, () => context.getSequence());  // what nobody holds is collected
    for (const [index, sequence] of sequences.entries()) await generate(sequence, randomTokens(load.tokens, index), 1);
    t.ok(sequences.every(({nextTokenIndex}) => nextTokenIndex >= load.tokens));
    const {residentBytes, stockBytes} = store.stats(context), forecast = native.forecast(shape, high, load);
    t.equal(forecast.stockBytes, stockBytes);
    t.ok(Math.abs(forecast.residentBytes! - residentBytes) <= 2 * slack * residentBytes, `${residentBytes}, forecast ${forecast.residentBytes}`);

    t.match(native.forecast(shape, null, load), {stockBytes, residentBytes: null, parts: null});
    const {packed, window, sinks} = forecast.parts!, own = native.forecast(shape, high, {...load, sharedTokens: 0, groups: 3});
    t.ok(packed > 0 && window > 0 && sinks > 0 && packed + window + sinks < forecast.residentBytes!);
    t.strictSame(own, forecast, "groups that share nothing change nothing");
    t.match(native.forecast({attention: [], windows: [], window: 0, stateBytes: 7}, high, load), {stockBytes: 21, bytesBeside: 21});
    const head84 = {...shape, attention: [{count: 1, kvHeads: 2, keyLength: 84, valueLength: 84}]};
    t.throws(() => native.forecast(head84, high, load), {code: "MODEL_UNSUPPORTED"});
    t.ok(native.forecast(head84, null, load).stockBytes > 0, "stock has such heads");
    for (const wrong of [{...load, tokens: -1}, {...load, tokens: 1.5}, {...load, sequences: NaN}, {...load, batchSize: 2 ** 40}, {...load, sharedTokens: 1001}, {...load, groups: -1}])
        t.throws(() => native.forecast(shape, high, wrong), {code: "OPTION_INVALID"});
    t.throws(() => native.forecast({...shape, attention: [{count: 1e9, kvHeads: 2, keyLength: 64, valueLength: 64}]}, high, load), {code: "OPTION_INVALID"});
    const vast = {...shape, attention: [{count: 4096, kvHeads: 4096, keyLength: 256, valueLength: 256}]};
    t.throws(() => native.forecast(vast, null, {sequences: 65_536, tokens: 2 ** 31 - 1, batchSize: 512}), {code: "OPTION_INVALID"}, "bytes that no sum holds");
    const ultra = nativeTier(builtInTiers.get("ultra")!), atOnce = {...ultra, window: 0, eviction: {...ultra.eviction!, slack: 1}};
    t.ok(native.forecast(shape, atOnce, {...load, sharedTokens: load.tokens}).residentBytes! > 0, "nothing of one's own");
    t.throws(() => native.forecast(shape, {...high, format: "k9v9"} as never, load), {code: "OPTION_INVALID"});
});
