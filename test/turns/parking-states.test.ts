import {LmdbStore} from "llama-deltastore";
import t from "tap";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {divergence, goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openParking, parkedPrompt} from "../support/parking.js";
import {loadTiny} from "../support/tiny-engine.js";

// Parked sequences of models with recurrent layers or sliding windows: the state of these layers goes to the store, and comes back.

t.setTimeout(240_000);

const llama = await openLlama();
t.teardown(() => llama.dispose());

for (const name of ["lfm2", "qwen35", "gemma3"]) {
    t.test(`${name}: an idle sequence leaves memory, and goes on as one that never did`, async (t) => {
        const {store, context, twins, events, parked, held, turns} = await openParking(t, llama, await loadTiny(llama, name));
        const [sequence, other] = [context.getSequence(), context.getSequence()], twin = twins.getSequence();
        for (const one of [sequence, twin]) await nextLogits(one, parkedPrompt);
        for (let round = 0; round < 2; round++) {
            await parked(1);
            t.strictSame(held(), [], "it holds nothing");
            await other.evaluateWithoutGeneratingNewTokens(randomTokens(50, 2 + round));  // its state takes the place in memory
            await other.clearHistory();
            t.strictSame(sequence.contextTokens, twin.contextTokens);
            events.length = 0;  // it may be parked again before the twin is done
            const [found, expected] = [await goOn(sequence, 10 * round), await goOn(twin, 10 * round)];
            sameLogits(t, found, expected);
            t.match(events.find(({type}) => type === "unpark"), {sequenceId: 0, tokens: 400 + 201 * round});
        }
        t.strictSame((await turns.verify()).problems, []);
        t.ok(store.stats(context).sharing === null);
    });
}

t.test("a parked sequence whose state the store has lost is evaluated again", async (t) => {
    const {folder, context, twins, parked} = await openParking(t, llama, await loadTiny(llama, "lfm2"), {kvCache: "exact"});
    const sequence = context.getSequence(), twin = twins.getSequence(), lmdb = await LmdbStore.open(folder);
    t.teardown(() => lmdb.close());
    for (const one of [sequence, twin]) await one.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(1);
    const names: string[] = [];
    for await (const {name} of lmdb.inventory()) names.push(name);
    await lmdb.step({release: names});
    const before = sequence.tokenMeter.usedInputTokens;
    t.ok(divergence(await nextLogits(twin, moreTokens(5, 1)), await nextLogits(sequence, moreTokens(5, 1))) < 1e-6);
    t.ok(sequence.tokenMeter.usedInputTokens - before >= 400, "all is evaluated");
    t.strictSame(sequence.contextTokens, twin.contextTokens);
});

t.test("the pool's pressure parks such a sequence, and drops its kept states first", async (t) => {
    const model = await loadTiny(llama, "qwen35"), roomy = await openParking(t, llama, model, {park: 86_400, sequences: 2, contextSize: 512});
    await roomy.context.getSequence().evaluateWithoutGeneratingNewTokens(parkedPrompt);
    const {peakResidentBytes, bytesBeside} = roomy.store.stats(roomy.context), limit = Math.round(1.6 * (peakResidentBytes - bytesBeside));
    const {context, events} = await openParking(t, llama, model, {
        park: 86_400, sequences: 2, contextSize: 512, policy: {sharing: {automatic: true}, pool: {limit, pressure: {idle: 0}}}
    });
    const [first, second] = [context.getSequence(), context.getSequence()];
    const texts = [parkedPrompt, randomTokens(400, 3)];
    for (const [index, one] of [first, second].entries()) await one.evaluateWithoutGeneratingNewTokens(texts[index]!);
    t.match(events.find(({type}) => type === "park"), {sequenceId: 0, tokens: 400});
    t.ok(events.some((event) => event.type === "drop" && event.reason === "limit"));
    const twin = roomy.twins.getSequence();
    await twin.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    t.ok(divergence(await nextLogits(twin, moreTokens(3, 4)), await nextLogits(first, moreTokens(3, 4))) < 0.1);
});
