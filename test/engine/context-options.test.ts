import {attach, DeltaStoreError} from "llama-deltastore";
import t from "tap";
import {codeOf, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {loadTiny, openTiny} from "../support/tiny-engine.js";

t.setTimeout(120_000);

t.test("wrong options are refused by name, and the model stays usable", async (t) => {
    const {llama, store, model} = await openTiny(t);
    const attempts: [object, string, RegExp][] = [
        [{kvCache: "high", flashAttention: false}, "FLASH_ATTENTION_REQUIRED", /flash attention is off/],
        [{flashAttention: false}, "FLASH_ATTENTION_REQUIRED", /flash attention is off/],
        [{kvCache: "high", experimentalKvCacheKeyType: "Q8_0"}, "KV_CACHE_TYPE_CONFLICT", /experimentalKvCacheKeyType.*"Q8_0".*"high"/],
        [{experimentalKvCacheValueType: "Q8_0"}, "KV_CACHE_TYPE_CONFLICT", /experimentalKvCacheValueType.*"high"/],
        [{kvCache: "hihg"}, "TIER_UNKNOWN", /"hihg".*"exact".*"stock".*"high"\?/],
        [{kvCache: "conservatve"}, "TIER_UNKNOWN", /"conservative"\?/],
        [{kvCache: ""}, "TIER_UNKNOWN", /""/],
        [{kvCache: 4}, "OPTION_INVALID", /kvCache is 4; allowed are "exact", "high", .*"ultra" and "stock"/],
        [{kvCache: null}, "OPTION_INVALID", /kvCache is null/]
    ];
    for (const [options, code, message] of attempts) {
        const error = await rejection(model.createContext({contextSize: 256, threads: 1, ...options}));
        t.type(error, DeltaStoreError);
        t.match(error, {code, message}, JSON.stringify(options));
    }
    const context = await model.createContext({contextSize: 256, threads: 1, kvCache: "stock", experimentalKvCacheKeyType: "Q8_0"});
    t.equal((await generate(context.getSequence(), randomTokens(5, 1), 3)).length, 3, "types go with the stock cache");
    t.throws(() => store.stats(context), {code: "OPTION_INVALID"});
    t.equal(await codeOf(attach(llama, {onUnsupported: "maybe" as "stock"})), "OPTION_INVALID");
    t.equal(await codeOf(attach(llama, {policy: "hihg"})), "TIER_UNKNOWN");
    t.equal(await codeOf(attach(llama, {policy: {default: "none"}})), "POLICY_INVALID");
    t.ok(store.active, "a failed attach leaves the one before");
});

t.test("an error that node-llama-cpp's estimates meet first is logged only once", async (t) => {
    const logged: string[] = [];
    const llama = await openLlama((_level, message) => void logged.push(message));
    t.teardown(() => llama.dispose());
    await attach(llama);
    const model = await loadTiny(llama);
    for (const contextSize of [256, "auto"] as const) {
        logged.length = 0;
        t.equal(await codeOf(model.createContext({contextSize, threads: 1, flashAttention: false})), "FLASH_ATTENTION_REQUIRED");
        await new Promise(setImmediate);
        t.equal(logged.filter((message) => message.includes("flash attention is off")).length, 1, String(contextSize));
    }
});

t.test("embedding and ranking contexts stay stock", async (t) => {
    const plain = await openLlama();
    t.teardown(() => plain.dispose());
    const unattached = await loadTiny(plain);
    const text = "The cat sat on the mat.";
    const expected = await (await unattached.createEmbeddingContext({contextSize: 128, threads: 1})).getEmbeddingFor(text);

    const {model} = await openTiny(t);
    const packed = await model.createContext({contextSize: 2048, threads: 1, kvCache: "high"});
    const embedding = await model.createEmbeddingContext({contextSize: 128, threads: 1});
    const {vector} = await embedding.getEmbeddingFor(text);
    t.strictSame(vector, expected.vector, "the same vector, bit for bit");
    t.ok(vector.some((one) => one !== 0));
    t.equal(await codeOf(model.createRankingContext({contextSize: 128})), await codeOf(unattached.createRankingContext({contextSize: 128})),
        "a model without ranking says so as without the package");
    t.equal((await generate(packed.getSequence(), randomTokens(5, 1), 3)).length, 3);
});
