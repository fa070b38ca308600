import {MemoryStore, type Turns} from "llama-deltastore";
import t, {type Test} from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {openTiny} from "../support/tiny-engine.js";
import {policy} from "../support/turns-engine.js";
import {isWell, wrapped} from "../support/turns.js";

// Blocks that a sequence's last save or restore has named are neither read nor hashed again, and no change of them is missed.
const {store, model} = await openTiny(t, policy);

/** Turns, and a count of the parts that their saves have hashed since the last count. */
async function countingTurns(t: Test): Promise<{turns: Turns; memory: MemoryStore; hashed: () => number}> {
    const memory = new MemoryStore();
    let count = 0;
    const turns = await store.openTurns({store: wrapped(memory, {
        stored(names) {
            count += names.length;
            return memory.stored(names);
        }
    })});
    t.teardown(() => turns.close());
    const hashed = () => {
        const before = count;
        count = 0;
        return before;
    };
    return {turns, memory, hashed};
}

async function openContext(t: Test, kvCache: string) {
    const context = await model.createContext({contextSize: 3072, sequences: 3, threads: 1, flashAttention: true, batchSize: 256, kvCache});
    t.teardown(() => context.dispose());
    return context;
}

for (const kvCache of ["exact", "high", "conservative", "evicting"]) {
    t.test(`${kvCache}: a save reads what is new since the last one, or since the sequence was restored`, async (t) => {
        const {turns, hashed} = await countingTurns(t), context = await openContext(t, kvCache), source = context.getSequence(), target = context.getSequence();
        await source.evaluateWithoutGeneratingNewTokens(randomTokens(2000, 1));
        await turns.save("c", source);
        const all = hashed();
        t.ok(all > 10, `${all} parts`);
        for (let turn = 0; turn < 3; turn++) {
            await source.evaluateWithoutGeneratingNewTokens(moreTokens(20, 2 + turn));
            await turns.save("c", source);
            const some = hashed();
            t.ok(some < all / 3, `${some} of ${all} parts`);
            await turns.restore("c", target);
            await turns.save("d", target);
            const fewer = hashed();
            t.ok(fewer < all / 3, `${fewer} of ${all} parts of a restored sequence`);
        }
        await turns.restore("d", target);
        sameLogits(t, await goOn(target, 5), await goOn(source, 5));
        await isWell(t, turns);
    });
}

t.test("what the store has lost meanwhile is stored again, and no more than that", async (t) => {
    const {turns, memory, hashed} = await countingTurns(t), context = await openContext(t, "high"), source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(1000, 1));
    await turns.save("c", source);
    const all = hashed();
    for (const most of [1, Infinity]) {
        let lost = 0;
        for await (const {name, bytes, holders} of memory.inventory())
            if (bytes > 10_000 && lost++ < most) await memory.step({release: Array<string>(holders).fill(name)});
        await source.evaluateWithoutGeneratingNewTokens(moreTokens(3, 2));
        const {id} = await turns.save("c", source), again = hashed();
        t.ok(most === 1 ? again < all / 2 : again >= all, `${again} parts, of ${all}`);
        t.match(await turns.restore("c", target), {turn: {id}, evaluated: 0, damaged: []});
    }
    sameLogits(t, await goOn(target, 5), await goOn(source, 5));
});

t.test("turns in another store know nothing of it", async (t) => {
    const one = await countingTurns(t), other = await countingTurns(t), context = await openContext(t, "high"), source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(1000, 1));
    await one.turns.save("c", source);
    await other.turns.save("c", source);
    t.equal(other.hashed(), one.hashed());
    await one.turns.restore("c", target);
    await other.turns.save("d", target);
    await isWell(t, other.turns);
    t.match(await other.turns.restore("d", source), {evaluated: 0, damaged: []});
    sameLogits(t, await goOn(source, 5), await goOn(target, 5));
});
