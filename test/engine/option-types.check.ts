/** Compiled, never run: which options TypeScript takes, and which it must not. */
import type {DeltaStore} from "llama-deltastore";
import {TokenBias, type LlamaContext, type LlamaContextSequence, type LlamaDecisionContext, type LlamaModel, type TokenPredictor} from "node-llama-cpp";

export async function contexts(model: LlamaModel): Promise<LlamaContext[]> {
    // @ts-expect-error: no tier's name
    await model.createContext({kvCache: 4});
    // @ts-expect-error: stock's options keep their types
    await model.createContext({kvCache: "high", contextSize: "large"});
    // @ts-expect-error: misspelled
    await model.createContext({kvcache: "high"});
    return [
        await model.createContext(),
        await model.createContext({kvCache: "my-tier", contextSize: {min: 256}, sequences: 2, flashAttention: "auto", lora: "adapter.gguf"}),
        await model.createContext({experimentalKvCacheKeyType: "Q8_0", experimentalKvCacheValueType: "currentQuant", swaFullCache: true})
    ];
}

export function sequences(context: LlamaContext, tokenPredictor: TokenPredictor): LlamaContextSequence[] {
    // @ts-expect-error: a context's tier is "stock" or none
    context.getSequence({kvCache: null});
    // @ts-expect-error: stock's options keep their types beside ours
    context.getSequence({kvCache: "high", checkpoints: {max: "many"}});
    // @ts-expect-error: the same without ours
    context.getSequence({contextShift: {size: "large"}});
    // @ts-expect-error: misspelled
    context.getSequence({kvcache: "high"});
    return [
        context.getSequence(),
        context.getSequence({kvCache: "high", checkpoints: {max: 3, interval: false, maxMemory: null}}),
        context.getSequence({name: "batch-7", sharingGroup: "tenant-7", contextShift: {size: 20, strategy: "eraseBeginning"}, tokenPredictor}),
        context.getSequence({checkpoints: {interval: 100}})
    ];
}

export async function decisions(model: LlamaModel, store: DeltaStore): Promise<LlamaDecisionContext> {
    // @ts-expect-error: no tier's name
    await model.createDecisionContext({kvCache: 4});
    // @ts-expect-error: stock's options keep their types
    await model.createDecisionContext({kvCache: "high", parallelQuestions: "all"});
    // @ts-expect-error: misspelled
    await model.createDecisionContext({kvcache: "high"});
    const context = await model.createDecisionContext({kvCache: "high", parallelQuestions: 2, contextSize: "auto"});
    // @ts-expect-error: neither a LlamaContext nor a LlamaDecisionContext
    store.isPacked(new TokenBias(model.tokenizer));
    return store.isPacked(context) && store.stats(context).tokens > 0 ? context : await model.createDecisionContext();
}
