import {attach, type CacheEvent, type PolicyFile} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence, Token} from "node-llama-cpp";
import t, {type Test} from "tap";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {divergence, nextLogits, sameLogits} from "../support/logits.js";
import {loadTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

// Prefixes of models with recurrent layers or sliding windows: they can be taken over only where the state of these layers is known.

t.setTimeout(600_000);

const llama = await openLlama();
t.teardown(() => llama.dispose());

const names = ["lfm2", "qwen35", "granite-hybrid", "gemma3"], bound = 5e-3;
const first = randomTokens(300, 1);

/** A context, stock's answers, and what happens to the context's cache. */
async function open(t: Test, name: string, {kvCache = "exact", sequences = 4, policy = {}}: {kvCache?: string; sequences?: number; policy?: PolicyFile} = {}) {
    const store = await attach(llama, {policy}), model = await loadTiny(llama, name), events: CacheEvent[] = [];
    t.teardown(() => model.dispose());
    const createContext = (kvCache: string): Promise<LlamaContext> => model.createContext({contextSize: 1024, sequences, threads: 1, flashAttention: true, batchSize: 128, kvCache});
    const context = await createContext(kvCache);
    store.onEvent.createListener((event) => {
        if (event.context === context) events.push(event);
    });
    const stock = await stockAnswers(createContext);
    return {store, model, context, createContext, events, stock, sharing: () => store.stats(context).sharing!};
}

async function stockAnswers(createContext: (kvCache: string) => Promise<LlamaContext>): Promise<(tokens: readonly Token[]) => Promise<Float32Array>> {
    const sequence = (await createContext("stock")).getSequence();
    return async (tokens) => {
        await sequence.clearHistory();
        return await nextLogits(sequence, tokens);
    };
}

/** Disposes of a sequence, and waits until its number is free: what it held is kept then. */
async function end(sequence: LlamaContextSequence): Promise<void> {
    const {context} = sequence, left = context.sequencesLeft;
    await sequence.dispose();
    while (context.sequencesLeft === left) await settled(1);
}

for (const name of names) {
    t.test(`${name}: a text that parts anywhere is attached where a state was kept, and answered as stock does`, async (t) => {
        const {context, events, stock, sharing} = await open(t, name);
        const places = [172, 236, 268];  // 32 tokens before the end of `first`, and twice as far each time; 44 is too short
        for (const [group, part] of [20, 63, 90, ...places.flatMap((place) => [place - 1, place, place + 1]), 280, 299].entries()) {
            const sequence = context.getSequence({sharingGroup: String(group)}), lives = group % 2 === 1;
            await nextLogits(sequence, first);
            if (!lives) await end(sequence);
            events.length = 0;
            const text = [...first.slice(0, part), ...moreTokens(7, 1000 + part).map((token, index) => index === 0 && token === first[part] ? moreTokens(1, 1)[0]! : token)];
            const second = context.getSequence({sharingGroup: String(group)}), found = await nextLogits(second, text);
            const difference = divergence(await stock(text), found);
            t.ok(difference < bound, `parts at ${part}: ${difference}`);
            const attached = events.flatMap((event) => event.type === "attach" ? [event.tokens] : []);
            const place = places.filter((place) => place <= part).slice(-1);
            if (name === "gemma3") t.ok(attached.length === 0 ? place.length === 0 : attached[0]! >= (place[0] ?? 0) && attached[0]! <= part, "windows go back some way");
            else t.strictSame(attached, place, `parts at ${part}, ${lives ? "live" : "kept"}`);
            await end(second);
            if (lives) await end(sequence);
        }
        t.ok(sharing().attached >= 10);
    });

    t.test(`${name}: what two texts have in common is kept for a third, whose answer is the same`, async (t) => {
        const {context, events, sharing, stock} = await open(t, name, {kvCache: "high"});
        const common = first.slice(0, 200), texts = [1, 2].map((seed) => [...common, ...moreTokens(seed === 1 ? 300 : 11, seed)]);
        const sequences = [1, 2, 3].map(() => context.getSequence());
        await nextLogits(sequences[0]!, texts[0]!);
        const second = await nextLogits(sequences[1]!, texts[1]!);
        t.ok(events.some((event) => event.type === "keep" && event.tokens === 200), "the second stops where they part");
        await end(sequences[1]!);
        events.length = 0;
        const third = await nextLogits(sequences[2]!, texts[1]!);
        // The second's end is kept, too. A window goes back from there by the token that has to be evaluated.
        t.match(events.filter(({type}) => type === "attach"), [{sequenceId: 2, tokens: name === "gemma3" ? 210 : 200}]);
        if (name === "gemma3") t.ok(divergence(second, third) < 1e-4, "pages are cut elsewhere, and sums rounded otherwise");
        else sameLogits(t, [third], [second]);
        t.ok(divergence(await stock(texts[1]!), third) < 0.1, "the tier's own difference");
        t.ok(sharing().stateBytes > 0 && sharing().keptBytes > sharing().stateBytes);
    });

    t.test(`${name}: a prompt that is evaluated by itself is attached whole, also after its sequence`, async (t) => {
        const {context, events, stock} = await open(t, name);
        const preloaded = context.getSequence();
        await preloaded.evaluateWithoutGeneratingNewTokens(first);
        for (const [index, gone] of [false, true].entries()) {
            if (gone) await end(preloaded);
            events.length = 0;
            const sequence = context.getSequence(), text = [...first, ...moreTokens(9, 50 + index)];
            t.ok(divergence(await stock(text), await nextLogits(sequence, text)) < bound);
            t.match(events.filter(({type}) => type === "attach"), [{tokens: 300}], gone ? "kept" : "live");
        }
    });
}

t.test("requests that begin at once wait for the first one's state", async (t) => {
    const {context, stock, sharing} = await open(t, "qwen35");
    const texts = [1, 2, 3, 4].map((seed) => [...first, ...moreTokens(15, seed)]);
    const found = await Promise.all(texts.map((text) => nextLogits(context.getSequence(), text)));
    for (const [index, text] of texts.entries()) t.ok(divergence(await stock(text), found[index]!) < bound, `text ${index}`);
    t.equal(sharing().attached, 3);
});

t.test("states go with the longest unused first: by their limit, their number, and the pool's", async (t) => {
    const one = await open(t, "lfm2"), sequence = one.context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(first);
    const {stateBytes, keptPrefixes} = one.sharing(), each = Math.ceil(stateBytes / keptPrefixes);
    t.ok(keptPrefixes > 3, `${keptPrefixes} states of ${each} bytes`);

    const few = await open(t, "lfm2", {policy: {sharing: {states: 2 * each + 100}}}), other = few.context.getSequence();
    await other.evaluateWithoutGeneratingNewTokens(first);
    t.match(few.sharing(), {keptPrefixes: 2});
    t.ok(few.sharing().stateBytes <= 2 * each + 100);
    await other.clearHistory();
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(300, 59));
    t.ok(few.sharing().stateBytes <= 2 * each + 100);
    t.match(few.events.filter(({type}) => type === "drop").slice(0, 1), [{type: "drop", reason: "budget"}]);

    const none = await open(t, "lfm2", {policy: {sharing: {states: 0}}}), alone = none.context.getSequence();
    await alone.evaluateWithoutGeneratingNewTokens(first);
    await alone.clearHistory();
    t.match(none.sharing(), {keptPrefixes: 0, stateBytes: 0});

    const before = one.store.stats(one.context).residentBytes;
    for (let text = 0; text < 16; text++) {
        await sequence.clearHistory();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, 60 + text));
    }
    t.ok(one.sharing().keptPrefixes === 64 && one.events.some((event) => event.type === "drop" && event.reason === "newer"));
    t.ok(one.store.stats(one.context).residentBytes > before + one.sharing().stateBytes - stateBytes, "states count");
});

t.test("kept states make room when the pool is at its limit", async (t) => {
    const roomy = await open(t, "qwen35", {sequences: 1}), alone = roomy.context.getSequence();
    await alone.evaluateWithoutGeneratingNewTokens(randomTokens(900, 2));
    const {residentBytes, bytesBeside} = roomy.store.stats(roomy.context), limit = residentBytes - bytesBeside - roomy.sharing().stateBytes / 2;
    const {store, context, events, sharing} = await open(t, "qwen35", {sequences: 1, policy: {pool: {limit: Math.round(limit)}}}), sequence = context.getSequence();
    for (let text = 0; text < 6; text++) {
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(500, 50 + text));
        await sequence.clearHistory();
    }
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(900, 3));
    t.equal(sequence.nextTokenIndex, 900);
    t.ok(events.some((event) => event.type === "drop" && event.reason === "limit") && sharing().attached === 0);
    t.ok(store.stats(context).residentBytes - bytesBeside <= limit, "states and rows are within the limit");
});

t.test("a sequence that goes back to a checkpoint shares what it holds then", async (t) => {
    const {context, stock, events} = await open(t, "lfm2");
    const sequence = context.getSequence({checkpoints: {interval: 50, max: 8}}), text = [...first.slice(0, 230), ...moreTokens(100, 7)];
    await sequence.evaluateWithoutGeneratingNewTokens(first);
    await sequence.eraseContextTokenRanges([{start: 230, end: 300}]);
    t.ok(divergence(await stock(text), await nextLogits(sequence, text.slice(230))) < bound);
    events.length = 0;
    const other = context.getSequence(), longer = [...text, ...moreTokens(5, 8)];
    t.ok(divergence(await stock(longer), await nextLogits(other, longer)) < bound);
    t.match(events.filter(({type}) => type === "attach"), [{tokens: 330}], "at the other sequence's end");
});

t.test("a tier that drops rows does so before they are kept", async (t) => {
    const {store, context, sharing} = await open(t, "qwen35", {kvCache: "evicting", policy: {tiers: {evicting: {format: "k4v2", evict: {keep: 0.5, slack: 64}}}}});
    const prefix = randomTokens(600, 1), texts = [1, 2].map((seed) => [...prefix, ...moreTokens(20, seed)]);
    const sequences = texts.map(() => context.getSequence());
    for (const [index, text] of texts.entries()) await nextLogits(sequences[index]!, text);
    t.equal(sharing().attached, 1);
    for (const {kept, sharedBytes} of store.stats(context).sequences) t.ok(kept < 0.8 && sharedBytes > 0, `kept ${kept}`);
});
