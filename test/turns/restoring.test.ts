import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {divergence, goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openTurnsEngine, prompt, sequenceOf, tiers} from "../support/turns-engine.js";
import {isWell, restoredElsewhere, storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const {store, modelPath, createContext} = await openTurnsEngine(t);

interface Shape {
    context: string;
    /** The tier that the sequence ends with. */
    tier?: string;
    prepare?(sequence: LlamaContextSequence, context: LlamaContext): Promise<void>;
}

const shapes: Record<string, Shape> = {
    "exact": {context: "exact"},
    "high": {context: "high"},
    "conservative": {context: "conservative"},
    "evicting": {context: "evicting"},
    "of several tiers": {
        context: "high", tier: "evicting",
        async prepare(sequence) {
            for (const [index, tier] of ["exact", "high", "conservative", "compact", "evicting"].entries()) {
                await store.setTier(sequence, tier);
                await nextLogits(sequence, index === 0 ? randomTokens(130, 2) : moreTokens(110, 2 + index));
            }
        }
    },
    "forked": {
        context: "high",
        async prepare(sequence, context) {
            const source = context.getSequence();
            await source.evaluateWithoutGeneratingNewTokens(prompt);
            await store.fork(source, sequence, {upTo: 333});
            await nextLogits(sequence, moreTokens(90, 3));
            await source.clearHistory();
        }
    },
    "shifted": {
        context: "conservative",
        async prepare(sequence) {
            await sequence.evaluateWithoutGeneratingNewTokens(prompt);
            await sequence.eraseContextTokenRanges([{start: 50, end: 150}]);
        }
    },
    "shorter than a window": {
        context: "high",
        async prepare(sequence) {
            await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, 9));
        }
    }
};

for (const [name, {context: contextTier, tier = contextTier, prepare}] of Object.entries(shapes)) {
    t.test(`a sequence that is ${name} goes on bit for bit, wherever it is restored`, async (t) => {
        const folder = storeFolder(t), turns = await store.openTurns({store: folder});
        const context = await createContext(contextTier), sequence = context.getSequence(), other = sequenceOf(context, tier);
        if (prepare === undefined) await nextLogits(sequence, prompt);
        else await prepare(sequence, context);
        t.equal(store.tierOf(sequence), tier);
        const kept = store.stats(context).sequences.find(({id}) => id === 0)!.kept;
        t.equal(kept < 1, tier === "evicting");
        const held = sequence.contextTokens, turn = await turns.save("c", sequence, {data: {a: [1]}});
        t.match(turn, {tokens: held.length, whole: true});
        const expected = await goOn(sequence, 20);
        await other.evaluateWithoutGeneratingNewTokens(randomTokens(150, 9));

        const elsewhere = await createContext(contextTier, {contextSize: 2048}), alone = await createContext(contextTier, {sequences: 1});
        await elsewhere.getSequence().evaluateWithoutGeneratingNewTokens(randomTokens(300, 10));
        for (const target of [sequenceOf(alone, tier), other, sequenceOf(elsewhere, tier)]) {
            t.match(await turns.restore("c", target), {turn: {id: turn.id}, data: {a: [1]}, evaluated: 0, damaged: []});
            t.strictSame(target.contextTokens, held);
            t.equal(target.nextTokenIndex, held.length);
            t.equal(store.stats(target.context).sequences.at(-1)!.kept, kept);
            const found = await goOn(target, 20), near = found.map((row, index) => divergence(expected[index]!, row));
            // How new rows are packed (about the mean of keys) and dropped (by what heads look up) depends on the context.
            const same = target.context === alone ? 4 : 2;
            sameLogits(t, found.slice(0, same), expected.slice(0, same));
            t.ok(Math.max(...near) < (tier === "evicting" ? 5 : 0.5), `${near} nats`);
        }
        await isWell(t, turns);
        await turns.close();
        const batches = [1, 30, 70, 100].map((size, index) => moreTokens(size, 20 + index));
        const {rows, ...rest} = restoredElsewhere(t, {modelPath, tiers, context: contextTier, tier, folder, conversation: "c", batches});
        t.strictSame(rest, {evaluated: 0, tokens: held.length + 201});
        sameLogits(t, rows, expected, "in a process of its own");
        for (const one of [context, elsewhere, alone]) await one.dispose();
    });
}
