import {join} from "node:path";
import {attach, MemoryStore} from "llama-deltastore";
import type {LlamaContext, LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {nextLogits, sameLogits} from "../support/logits.js";
import {dist} from "../support/paths.js";
import {openShortLives} from "../support/short-lives.js";
import {loadTiny} from "../support/tiny-engine.js";
import {settled} from "../support/waiting.js";

const {withContextLock} = await import(dist("runtime/context-lock.js")) as typeof import("../../dist/runtime/context-lock.js");

t.setTimeout(180_000);

const {llama, store, model, folder, createContext} = await openShortLives(t);

/** Keeps the context's lock, as a batch does, until it is let go. */
async function holdLock(context: LlamaContext): Promise<() => Promise<void>> {
    let letGo!: () => void, locked!: Promise<void>;
    const held = new Promise<void>((resolve) => letGo = resolve);
    await new Promise<void>((resolve) => {
        locked = withContextLock(context, () => {
            resolve();
            return held;
        });
    });
    return async () => {
        letGo();
        await locked;
    };
}

const kept = new MemoryStore();

/** Every call that waits for its turn with a sequence. */
const waiting: Record<string, (sequence: LlamaContextSequence, other: LlamaContextSequence) => Promise<unknown>> = {
    evaluateWithoutGeneratingNewTokens: (sequence) => sequence.evaluateWithoutGeneratingNewTokens(moreTokens(200, 3)),
    evaluate: async (sequence) => {
        let count = 0;
        for await (const _ of sequence.evaluate(moreTokens(80, 4))) if (++count === 3) break;
    },
    controlledEvaluate: (sequence) => nextLogits(sequence, moreTokens(150, 5)),
    eraseContextTokenRanges: (sequence) => sequence.eraseContextTokenRanges([{start: 5, end: 20}]),
    clearHistory: (sequence) => sequence.clearHistory(),
    adaptStateToTokens: (sequence) => sequence.adaptStateToTokens(randomTokens(40, 1)),
    saveStateToFile: (sequence) => sequence.saveStateToFile(join(folder, "late.state")),
    loadStateFromFile: (sequence) => sequence.loadStateFromFile(join(folder, "good.state"), {acceptRisk: true}),
    setTier: (sequence) => store.setTier(sequence, "conservative"),
    evict: (sequence) => store.evict(sequence, {keep: 0.5, scorer: "recency"}),
    "fork from it": (sequence, other) => store.fork(sequence, other),
    "fork to it": (sequence, other) => store.fork(other, sequence),
    save: async (sequence) => (await store.openTurns({store: new MemoryStore()})).save("late", sequence),
    restore: async (sequence) => {
        const turns = await store.openTurns({store: kept});
        return await turns.restore("good", sequence);
    }
};

t.test("a call that waits while its sequence is disposed does nothing to the next sequence of that number", async (t) => {
    const source = await createContext("high"), first = source.getSequence();
    await first.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    await first.saveStateToFile(join(folder, "good.state"));
    await (await store.openTurns({store: kept})).save("good", first);
    await source.dispose();
    const open = async () => {
        const context = await createContext("high", {sequences: 2}), other = context.getSequence(), sequence = context.getSequence();
        await other.evaluateWithoutGeneratingNewTokens(randomTokens(120, 6));
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(130, 7));
        return {context, other, sequence};
    };
    const twin = await open();
    await twin.sequence.dispose();
    const expected = await nextLogits(twin.context.getSequence(), randomTokens(150, 9));
    await twin.context.dispose();
    for (const [name, work] of Object.entries(waiting)) {
        for (const order of ["before", "behind"] as const) {
            const {context, other, sequence} = await open();
            const letGo = await holdLock(context), late = order === "before" ? codeOf(work(sequence, other)) : null;
            const ended = sequence.dispose(), behind = late ?? codeOf(work(sequence, other));
            t.equal(context.sequencesLeft, 0, "its number is not free while a batch is computed");
            await letGo();
            await ended;
            const next = context.getSequence();
            sameLogits(t, [await nextLogits(next, randomTokens(150, 9))], [expected], `${name} ${order} the disposal`);
            const code = await behind;
            await settled(5);
            t.match(code, order === "before" ? /^(fulfilled|DISPOSED|Object is disposed)$/ : /^(DISPOSED|Object is disposed)$/, `${name}: ${code}`);
            t.equal(next.nextTokenIndex, 150);
            t.strictSame(store.stats(context).sequences.map(({id, tokens}) => [id, tokens]).sort(), [[0, other.nextTokenIndex], [1, 150]]);
            t.equal(store.tierOf(next), "high");
            await context.dispose();
        }
    }
});

t.test("a save is taken before a later disposal, also while another sequence is evaluated", async (t) => {
    const shared = await attach(llama);
    for (const end of ["sequence", "context", "model"] as const) {
        const own = end === "model" ? await loadTiny(llama) : model;
        const context = await own.createContext({contextSize: 2048, sequences: 2, threads: 1, flashAttention: true, batchSize: 128});
        const [sequence, other] = [context.getSequence(), context.getSequence()], turns = await shared.openTurns({store: new MemoryStore()});
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, 1));
        await turns.save("before", sequence);
        const busy = codeOf(other.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 2)));
        await settled(20);
        const saving = turns.save("chat", sequence), ended = {sequence, context, model: own}[end].dispose();
        t.match(await saving, {tokens: 200}, end);
        await ended;
        await busy;
        await context.dispose();
    }
});

t.test("work that throws at once fails neither its neighbours nor the batch", async (t) => {
    const {BetweenBatches} = await import(dist("runtime/between-batches.js")) as typeof import("../../dist/runtime/between-batches.js"), between = new BetweenBatches();
    let letGo!: () => void;
    const locked = async (work: () => Promise<void>) => {
        await new Promise<void>((resolve) => letGo = resolve);
        await work();
    };
    const first = between.run(locked, () => { throw new Error("at once"); }), second = between.run(locked, () => Promise.resolve("well"));
    letGo();
    t.equal(await codeOf(first), "at once");
    t.equal(await second, "well");
});
