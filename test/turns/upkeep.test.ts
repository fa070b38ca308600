import {attach, DeltaStoreError, MemoryStore} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {openTiny, unshared} from "../support/tiny-engine.js";
import {inventoryOf, isWell, wrapped} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(120_000);

const {llama, store, model} = await openTiny(t, unshared);

const prompt = randomTokens(500, 1);

function createContext(): Promise<LlamaContext> {
    return model.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"} as object);
}

t.test("what is past its time goes, and the longest unused where there is too much", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
    const context = await createContext(), sequence = context.getSequence(), names = ["a", "b", "c", "d"];
    for (const [index, name] of names.entries()) {
        await sequence.clearHistory();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, index));
        await turns.save(name, sequence);
        await settled(30);
    }
    t.match(await turns.collectGarbage(), {conversations: 0, bytes: 0});
    await turns.restore("a", sequence);
    const before = await turns.bytes(), budget = before - (await turns.sizeOf("b")).own;
    const {conversations, bytes} = await turns.collectGarbage({budget});
    t.equal(conversations, 1);
    t.equal(bytes, before - await turns.bytes());
    t.strictSame((await turns.list()).map(({name}) => name), ["a", "d", "c"]);
    await settled(30);
    await turns.restore("c", sequence);
    t.match(await turns.collectGarbage({ttl: 0.025}), {conversations: 2});
    t.strictSame((await turns.list()).map(({name}) => name), ["c"]);
    await isWell(t, turns);

    const small = await store.openTurns({store: memory, budget: 1});
    t.strictSame(await small.list(), [], "opening it collects");
    await small.save("e", sequence);
    t.strictSame((await small.list()).map(({name}) => name), ["e"], "what was just saved stays in any case");
    await small.save("f", sequence);
    t.strictSame((await small.list()).map(({name}) => name), ["f"]);
    await isWell(t, small);
    await context.dispose();
});

t.test("what a save left that came to no end is swept, and not what is being saved", async (t) => {
    const memory = new MemoryStore(), context = await createContext(), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    let fails = true, hook = async (): Promise<unknown> => undefined;
    const turns = await store.openTurns({store: wrapped(memory, {
        async step(step) {
            if (fails && (step.put ?? step.sweep) !== undefined) throw new DeltaStoreError("STORE_FAILED", "no connection");
            if (step.put !== undefined) await hook();
            return await memory.step(step);
        }
    })});
    t.equal(await codeOf(turns.save("c", sequence)), "STORE_FAILED");
    const left = await inventoryOf(memory);
    t.ok(left.objects > 3, `${left.objects} objects were left`);
    fails = false;
    await turns.collectGarbage();
    t.match(await inventoryOf(memory), {objects: 0, bytes: 0});
    let swept = 0;
    hook = async () => { if (swept++ === 0) await turns.collectGarbage(); };
    await turns.save("c", sequence);
    t.equal(swept, 2, "what was swept meanwhile was brought again");
    await isWell(t, turns);
    t.match(await turns.restore("c", sequence), {evaluated: 0, damaged: []});
    await context.dispose();
});

t.test("a limit that is undefined is one that is not given", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory, history: undefined, ttl: undefined, budget: undefined} as object);
    const context = await createContext(), sequence = context.getSequence();
    for (let turn = 0; turn < 102; turn++) {
        await sequence.evaluateWithoutGeneratingNewTokens(turn === 0 ? randomTokens(5, 1) : moreTokens(1, turn));
        await turns.save("c", sequence);
    }
    t.equal((await turns.history("c")).length, 100);
    t.match(await turns.collectGarbage({ttl: 1000, budget: undefined} as object), {conversations: 0});
    t.match(await turns.collectGarbage({ttl: undefined, budget: 1e9} as object), {conversations: 0});
    await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: "unused", ttl: undefined, budget: "1GB"}} as object}).then(async (other) => {
        t.match(await (await other.openTurns({store: memory, ttl: undefined} as object)).list(), [{name: "c"}]);
    });
    await context.dispose();
});

t.test("a conversation that is deleted while it is saved is gone", async (t) => {
    const memory = new MemoryStore();
    let slow = false;
    const turns = await store.openTurns({store: wrapped(memory, {step: async (step) => {
        if (slow) await settled(100);
        return await memory.step(step);
    }})});
    const context = await createContext(), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    slow = true;
    const saving = turns.save("c", sequence);
    t.equal(await turns.delete("c"), true);
    await saving;
    t.strictSame(await turns.list(), []);
    t.match(await inventoryOf(memory), {objects: 0});
    await context.dispose();
});

t.test("a store is well while others save to it", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore(), history: 3}), context = await createContext(), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, 1));
    let done = false, saves = 0;
    const saving = (async () => {
        for (; !done; saves++) {
            await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(2, saves));
            await turns.save(`c${saves % 3}`, sequence);
        }
    })();
    for (let round = 0; round < 8 || saves < 6; round++) {
        await isWell(t, turns);
        await settled(1);
    }
    done = true;
    await saving;
    await context.dispose();
});
