import {spawnSync} from "node:child_process";
import {join} from "node:path";
import {attach, DeltaStoreError, LmdbStore, MemoryStore, type DeltaStore, type Turn, type Turns} from "llama-deltastore";
import {DisposedError, type LlamaContext, type LlamaContextSequence, type Token} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, divergence, generate, openLlama, randomTokens, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {root} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {goOn, inventoryOf, isWell, moreTokens, nextLogits, sameLogits, settled, storeFolder, wrapped} from "../support/turns.js";

t.setTimeout(240_000);

const llama = await openLlama();
const tiers = {evicting: {format: "k4v2", evict: {keep: 0.6, slack: 128}}} as const;
const store = await attach(llama, {policy: {tiers, sharing: {automatic: false}}});
const modelPath = await tinyModelPath(tinyModel("llama-head-128"));
const model = await llama.loadModel({modelPath, gpuLayers: 0});
t.teardown(() => llama.dispose());

type Options = {contextSize?: number; sequences?: number};

function createContext(kvCache = "high", options: Options = {}, of = model): Promise<LlamaContext> {
    return of.createContext({contextSize: 1024, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache, ...options});
}

function sequenceOf(context: LlamaContext, kvCache: string): LlamaContextSequence {
    return context.getSequence({kvCache} as object);
}

const prompt = randomTokens(500, 1);

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
            // New rows are packed by means of keys, and dropped by what is known of heads, which are the context's.
            const same = target.context === alone ? 4 : 2;
            sameLogits(t, found.slice(0, same), expected.slice(0, same));
            t.ok(Math.max(...near) < (tier === "evicting" ? 5 : 0.5), `${near} nats`);
        }
        await isWell(t, turns);
        await turns.close();
        const batches = [1, 30, 70, 100].map((size, index) => moreTokens(size, 20 + index));
        const child = spawnSync(process.execPath, [
            join(root, "test/fixtures/turn-logits.mjs"), JSON.stringify({modelPath, tiers, context: contextTier, tier, folder, conversation: "c", batches})
        ], {encoding: "utf8", timeout: 60_000});
        t.equal(child.status, 0, child.stderr);
        const {rows, ...rest} = JSON.parse(child.stdout) as {evaluated: number; tokens: number; rows: number[][]};
        t.strictSame(rest, {evaluated: 0, tokens: held.length + 201});
        sameLogits(t, rows.map((row) => Float32Array.from(row)), expected, "in a process of its own");
        for (const one of [context, elsewhere, alone]) await one.dispose();
    });
}

for (const tier of ["exact", "high", "evicting"]) {
    t.test(`${tier}: a turn adds what is new, and an older one lacks its newest rows only`, async (t) => {
        const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
        const context = await createContext(tier), sequence = context.getSequence(), target = context.getSequence();
        await nextLogits(sequence, prompt);
        const first = await turns.save("c", sequence), before = await inventoryOf(memory);
        await turns.save("copy", sequence);
        const copied = await inventoryOf(memory);
        t.ok(copied.objects - before.objects <= 1, "the same rows under another name are a record");
        await turns.delete("copy");
        t.strictSame(await inventoryOf(memory), before);

        const reached = await nextLogits(sequence, moreTokens(64, 5));
        const held = sequence.contextTokens, second = await turns.save("c", sequence), after = await inventoryOf(memory);
        const blocks = tier === "exact" ? 4 : 2;
        t.ok(after.objects - before.objects <= 1 + blocks, `${after.objects - before.objects} objects more: a record and blocks; one tail for another`);
        if (tier !== "evicting") t.ok(after.bytes - before.bytes < 0.3 * before.bytes, `${after.bytes - before.bytes} bytes more than ${before.bytes}`);
        t.ok(second.bytes <= first.bytes, "less is said to be added");
        const expected = await goOn(sequence, 30);

        const meter = target.tokenMeter.getState(), older = await turns.restore("c", target, {turn: first.id});
        t.match(older, {turn: {id: first.id}, damaged: []});
        t.ok(older.evaluated > 0 && older.evaluated <= (tier === "exact" ? 15 : 64 + 64 + 4), `${older.evaluated} tokens were evaluated again`);
        t.equal(target.tokenMeter.diff(meter).usedInputTokens, older.evaluated);
        t.strictSame(target.contextTokens, prompt);
        const near = divergence(reached, await nextLogits(target, moreTokens(64, 5)));
        t.ok(near < {exact: 1e-6, high: 0.1, evicting: 1}[tier]!, `${near} nats`);  // random weights make much of what is dropped
        t.match(await turns.restore("c", target), {turn: {id: second.id}, evaluated: 0});
        t.strictSame(target.contextTokens, held);
        sameLogits(t, (await goOn(target, 30)).slice(0, 2), expected.slice(0, 2));
        await isWell(t, turns);
        await context.dispose();
    });
}

t.test("a conversation keeps so many turns, and they can be listed and deleted", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory, history: 3});
    const context = await createContext(), sequence = context.getSequence(), saved: Turn[] = [];
    for (let turn = 0; turn < 5; turn++) {
        await sequence.evaluateWithoutGeneratingNewTokens(turn === 0 ? prompt.slice(0, 100) : moreTokens(40, turn));
        saved.push(await turns.save("talk", sequence));
    }
    const history = await turns.history("talk");
    t.strictSame(history.map(({id, whole}) => [id, whole]), saved.slice(2).map(({id}, index) => [id, index === 2]));
    t.equal(await codeOf(turns.restore("talk", sequence, {turn: saved[1]!.id})), "TURN_NOT_FOUND");
    t.match(await rejection(turns.restore("nobody", sequence)), {code: "TURN_NOT_FOUND", message: "nobody"});
    for (const name of ["history", "sizeOf"] as const) t.equal(await codeOf(turns[name]("nobody")), "TURN_NOT_FOUND");
    await turns.save("later", sequence);
    t.strictSame((await turns.list()).map(({name, turns, tokens}) => [name, turns, tokens]), [["later", 1, 260], ["talk", 3, 260]]);
    await settled(5);
    await turns.restore("talk", sequence);
    t.strictSame((await turns.list()).map(({name}) => name), ["talk", "later"], "the last used first");
    await isWell(t, turns);

    const {all, own} = await turns.sizeOf("talk");
    t.ok(own < all, `${own} of ${all}`);
    const {bytes} = await inventoryOf(memory);
    t.equal(await turns.delete("talk"), true);
    t.equal(bytes - (await inventoryOf(memory)).bytes, own);
    t.equal(await turns.delete("talk"), false);
    t.match(await turns.restore("later", sequence), {evaluated: 0});
    await turns.delete("later");
    t.strictSame([await inventoryOf(memory), await turns.bytes(), await turns.list()], [{objects: 0, bytes: 0}, 0, []]);
    await context.dispose();
});

t.test("a conversation that is forked goes on twice", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
    const context = await createContext(), sequence = context.getSequence(), other = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const first = await turns.save("one", sequence);
    await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(80, 2));
    await turns.save("one", sequence);
    const before = await inventoryOf(memory);
    await turns.fork("one", "two");
    await turns.fork("one", "early", {turn: first.id});
    t.strictSame(await inventoryOf(memory), before, "nothing is copied");
    t.strictSame(await turns.history("two"), await turns.history("one"));
    t.match(await turns.restore("two", other), {evaluated: 0});
    sameLogits(t, await goOn(other, 5), await goOn(sequence, 5));
    await turns.save("two", other);
    t.equal((await turns.history("one")).length, 2);
    await turns.delete("one");
    t.equal((await turns.history("two")).length, 3);
    t.strictSame((await turns.restore("early", sequence)).damaged, []);
    t.strictSame(sequence.contextTokens, prompt);
    await turns.fork("two", "early");
    t.strictSame(await turns.history("early"), await turns.history("two"), "takes the place of what the name stood for");
    t.match(await rejection(turns.fork("two", "two")), {code: "OPTION_INVALID", message: "two"});
    t.equal(await codeOf(turns.fork("nobody", "three")), "TURN_NOT_FOUND");
    t.equal(await codeOf(turns.fork("two", "three", {turn: "none"})), "TURN_NOT_FOUND");
    await isWell(t, turns);
    await context.dispose();
});

/** Two `Turns` on one folder, as two processes have them. */
async function twoOn(t: Test, options: object = {}): Promise<[Turns, Turns, LmdbStore]> {
    const folder = storeFolder(t), [first, second] = [await LmdbStore.open(folder), await LmdbStore.open(folder)];
    const both = [await store.openTurns({store: first, ...options}), await store.openTurns({store: second, ...options})] as const;
    t.teardown(() => Promise.all(both.map((turns) => turns.close())));
    return [...both, first];
}

t.test("300 operations on two stores of one folder leave what they should", async (t) => {
    const history = 4, [first, second, lmdb] = await twoOn(t, {history});
    const context = await createContext("conservative", {sequences: 6}), random = new Gaussian(77);
    const sequences = Array.from({length: 6}, () => context.getSequence()), names = ["a", "b", "c", "d", "e"];
    /** By conversation: what each of its turns holds. */
    const oracle = new Map<string, {id: string; tokens: Token[]}[]>();
    const some = <T>(all: readonly T[]): T => all[random.integer(all.length)]!;
    for (let operation = 0; operation < 300; operation++) {
        const turns = random.integer(2) === 0 ? first : second, sequence = some(sequences), name = some(names), known = oracle.get(name);
        const what = random.integer(12);
        if (what < 3) {
            if (sequence.nextTokenIndex > 700) await sequence.clearHistory();
            const tokens = sequence.nextTokenIndex === 0 ? randomTokens(100 + random.integer(120), operation) : moreTokens(1 + random.integer(60), operation);
            await sequence.evaluateWithoutGeneratingNewTokens(tokens);
        } else if (what < 6 && sequence.nextTokenIndex > 0) {
            const {id} = await turns.save(name, sequence);
            oracle.set(name, [...known ?? [], {id, tokens: sequence.contextTokens}].slice(-history));
        } else if (what < 9) {
            const turn = random.integer(2) === 0 || known === undefined ? undefined : some(known);
            const code = await codeOf(turns.restore(name, sequence, turn === undefined ? {} : {turn: turn.id}));
            t.equal(code, known === undefined ? "TURN_NOT_FOUND" : "fulfilled", `${operation}`);
            if (known !== undefined) t.strictSame(sequence.contextTokens, (turn ?? known.at(-1)!).tokens, `${operation}`);
        } else if (what === 9 && known !== undefined) {
            const target = some(names.filter((other) => other !== name)), turn = some(known);
            await turns.fork(name, target, {turn: turn.id});
            oracle.set(target, known.slice(0, known.indexOf(turn) + 1));
        } else if (what === 10) {
            t.equal(await turns.delete(name), oracle.delete(name));
        } else
            t.match(await turns.collectGarbage({ttl: 3600}), {conversations: 0});
    }
    t.ok(oracle.size > 1);
    t.strictSame((await first.list()).map(({name}) => name).sort(), [...oracle.keys()].sort());
    for (const [name, known] of oracle) t.strictSame((await second.history(name)).map(({id}) => id), known.map(({id}) => id));
    await isWell(t, first);
    for (const name of oracle.keys()) await second.delete(name);
    t.strictSame(await inventoryOf(lmdb), {objects: 0, bytes: 0});
    await context.dispose();
});

t.test("saves of one conversation at once lose no turn, and keep their order", async (t) => {
    const [turns, other] = await twoOn(t), both = [turns, other], context = await createContext(), sequences = [1, 2, 3, 4].map(() => context.getSequence());
    for (const [index, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(150 + index, index));
    const ids: string[] = [];
    for (let round = 0; round < 4; round++) {
        const saved = await Promise.all(sequences.map((sequence, index) => both[index % 2]!.save("c", sequence)));
        ids.push(...saved.map(({id}) => id));
    }
    const history = await turns.history("c");
    t.strictSame(history.map(({id}) => id).sort(), ids.sort());
    t.strictSame(history.map(({whole}) => whole), [...Array<boolean>(15).fill(false), true]);
    await isWell(t, turns);

    // The first has much to store, the others next to nothing.
    const [sequence, target] = sequences as [LlamaContextSequence, LlamaContextSequence], saves: Promise<Turn>[] = [];
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(800, 8));
    for (let turn = 0; turn < 4; turn++) {
        saves.push(turns.save("order", sequence));
        await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(20, turn));
    }
    await Promise.all(saves);
    t.strictSame((await turns.history("order")).map(({tokens}) => tokens), [800, 820, 840, 860]);
    await turns.restore("order", target);
    t.equal(target.nextTokenIndex, 860);
    await context.dispose();
});

t.test("a turn that goes while it is restored or forked is not taken for damaged", async (t) => {
    const [saving, restoring] = await twoOn(t, {history: 1}), context = await createContext();
    const [source, target] = [context.getSequence(), context.getSequence()];
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(200, 1));
    await saving.save("c", source);
    let done = false;
    const saves = (async () => {
        for (let turn = 0; turn < 25; turn++) {
            await source.evaluateWithoutGeneratingNewTokens(moreTokens(3, turn));
            await saving.save("c", source);
        }
        done = true;
    })();
    let restored = 0;
    while (!done) {
        t.strictSame((await restoring.restore("c", target)).damaged, []);
        await restoring.fork("c", "d");
        restored++;
    }
    await saves;
    t.ok(restored > 3, `${restored} times`);
    await isWell(t, saving);
    await context.dispose();
});

t.test("a turn of a sequence that is just generating holds what it says", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext("conservative");
    const sequence = context.getSequence(), target = context.getSequence();
    const iterator = sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true}), generated: Token[] = [], saves: Promise<Turn>[] = [];
    for await (const token of iterator) {
        generated.push(token);
        if (generated.length % 15 === 0) saves.push(turns.save("c", sequence));  // goes on meanwhile
        if (generated.length === 150) break;
    }
    const text = [...prompt, ...generated];
    for (const {id, tokens} of await Promise.all(saves)) {
        await turns.restore("c", target, {turn: id});
        t.equal(target.nextTokenIndex, tokens);
        t.strictSame(target.contextTokens, text.slice(0, tokens));
    }
    t.match(await turns.restore("c", target), {evaluated: 0});
    const twin = context.getSequence();
    await twin.evaluateWithoutGeneratingNewTokens(target.contextTokens);
    const [found, expected] = [await nextLogits(target, moreTokens(5, 3)), await nextLogits(twin, moreTokens(5, 3))];
    t.ok(divergence(expected, found) < 0.5, `${divergence(expected, found)} nats`);
    await isWell(t, turns);
    await context.dispose();
});

t.test("a turn that is saved while a prompt is evaluated has none of it", async (t) => {
    for (const tier of ["exact", "high", "evicting"]) {
        const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(tier);
        const [sequence, target, twin] = [context.getSequence(), context.getSequence(), context.getSequence()], before = randomTokens(150, 4);
        for (const one of [sequence, twin]) await one.evaluateWithoutGeneratingNewTokens(before);
        const evaluating = sequence.evaluateWithoutGeneratingNewTokens(moreTokens(800, 5)), saves: Promise<Turn>[] = [];
        for (let turn = 0; sequence.nextTokenIndex === before.length && turn < 1000; turn++) {
            if (turn % 5 === 0) saves.push(turns.save("c", sequence));
            await new Promise(setImmediate);
        }
        await evaluating;
        const lengths = (await Promise.all(saves)).map(({tokens}) => tokens), expected = await nextLogits(twin, moreTokens(5, 6));
        t.ok(lengths.filter((tokens) => tokens === before.length).length > 1, `${lengths}`);
        for (const {id, tokens} of await turns.history("c")) {
            await turns.restore("c", target, {turn: id});
            t.strictSame(target.contextTokens, sequence.contextTokens.slice(0, tokens));
            if (tokens !== before.length) continue;
            const near = divergence(expected, await nextLogits(target, moreTokens(5, 6)));
            t.ok(near < {exact: 1e-6, high: 0.1, evicting: 0.5}[tier]!, `${tier}: ${near} nats`);
        }
        await isWell(t, turns);
        await context.dispose();
    }
});

t.test("an evaluation under way doesn't go on behind what was restored, nor come between", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext();
    const source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prompt);
    const first = await turns.save("c", source);
    await source.evaluateWithoutGeneratingNewTokens(moreTokens(20, 1));
    await turns.save("c", source);

    const iterator = target.evaluate(moreTokens(20, 2), {temperature: 0, yieldEogToken: true});
    await iterator.next();
    await turns.restore("c", target);
    t.equal(await codeOf(iterator.next()), "OPTION_INVALID");
    t.strictSame(target.contextTokens, source.contextTokens);

    // The older turn's last tokens are evaluated again.
    await Promise.all([turns.restore("c", target, {turn: first.id}), turns.restore("c", target, {turn: first.id}), turns.restore("c", target, {turn: first.id})]);
    t.strictSame(target.contextTokens, prompt);
    const restoring = turns.restore("c", target, {turn: first.id}), question = moreTokens(5, 4);
    while (target.nextTokenIndex === prompt.length) await new Promise(setImmediate);
    await Promise.all([restoring, target.evaluateWithoutGeneratingNewTokens(question)]);
    t.strictSame(target.contextTokens, [...prompt, ...question]);
    await context.dispose();
});

t.test("disposal in the middle ends in a typed error, or comes too late", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
    const source = await createContext("evicting"), sequence = source.getSequence();
    await nextLogits(sequence, prompt);
    await turns.save("c", sequence);
    const outcomes = new Set<string>(), tell = (error: unknown) => {
        t.ok(error instanceof DeltaStoreError || error instanceof DisposedError, `${error}`);
        outcomes.add((error as Error).name);
    };
    for (let delay = 0; delay < 8; delay++) {
        for (const what of ["context", "sequence"] as const) {
            const context = await createContext("evicting"), busy = context.getSequence(), target = context.getSequence();
            await nextLogits(busy, randomTokens(300, delay));
            const doing = [turns.save(`d${delay}${what}`, busy), turns.restore("c", target)].map((promise) => promise.then(() => outcomes.add("done"), tell));
            for (let step = 0; step < delay * 3; step++) await new Promise(setImmediate);
            if (what === "context") await context.dispose();
            else for (const one of [busy, target]) one.dispose();
            await Promise.all(doing);
            if (what === "sequence") {
                await settled(20);
                const heir = context.getSequence(), {contextTokens} = heir;
                t.strictSame(contextTokens, []);
                t.equal((await generate(heir, randomTokens(30, 3), 3)).length, 3, "the number is another's");
                t.strictSame(store.stats(context).sequences.map(({tokens}) => tokens), [32]);
                await context.dispose();
            }
        }
    }
    t.ok(outcomes.size > 1, [...outcomes].join());
    await isWell(t, turns);
    await source.dispose();
    t.equal(await codeOf(turns.save("c", sequence)), "DISPOSED");
    t.equal(await codeOf(turns.restore("c", sequence)), "DISPOSED");
});

t.test("turns that are closed while something is restored end it with a typed error, and nothing else", async (t) => {
    const folder = storeFolder(t), context = await createContext("exact"), sequence = context.getSequence(), codes = new Set<string>();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const unhandled: unknown[] = [], listener = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listener);
    t.teardown(() => process.off("unhandledRejection", listener));
    for (let wait = 0; wait < 12; wait++) {
        const turns = await store.openTurns({store: folder});
        if (wait === 0) await turns.save("c", sequence);
        const restoring = codeOf(turns.restore("c", sequence));
        if (wait > 0) await settled(wait - 1);
        await turns.close();
        codes.add(await restoring);
    }
    await settled();
    t.ok([...codes].every((code) => ["fulfilled", "DISPOSED"].includes(code)) && codes.has("DISPOSED"), [...codes].join());
    t.strictSame(unhandled, []);
    await context.dispose();
});

t.test("a snapshot's blocks outlive their context, whose disposal waits for the turn", async (t) => {
    const memory = new MemoryStore();
    let begun = () => {}, goAhead = () => {};
    const asked = new Promise<void>((resolve) => begun = resolve), answered = new Promise<void>((resolve) => goAhead = resolve);
    const turns = await store.openTurns({store: wrapped(memory, {
        async stored(names) {
            begun();
            await answered;
            return await memory.stored(names);
        }
    })});
    const context = await createContext("high", {contextSize: 2048}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 1));  // blocks for several steps
    const expected = sequence.contextTokens, saving = turns.save("c", sequence);
    await asked;
    let disposed = false;
    const disposing = context.dispose().then(() => disposed = true);
    await settled(200);
    t.notOk(disposed);
    t.throws(() => store.stats(context), {code: "DISPOSED"});
    goAhead();
    await saving;
    await disposing;
    const other = await createContext("high", {contextSize: 2048}), target = other.getSequence();
    t.match(await turns.restore("c", target), {evaluated: 0});
    t.strictSame(target.contextTokens, expected);
    await isWell(t, turns);
    await other.dispose();
});

t.test("wrong arguments are named", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(), sequence = context.getSequence();
    const cyclic: {self?: unknown} = {}, wrong = <T>(value: unknown) => value as T;
    cyclic.self = cyclic;
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(10, 1));
    await turns.save("c", sequence);
    const attempts: [unknown, () => Promise<unknown>][] = [
        ...["", 5, null, undefined].flatMap((name): [unknown, () => Promise<unknown>][] => [
            [`name is ${name === "" ? "''" : name}`, () => turns.save(wrong(name), sequence)], [`name is ${name === "" ? "''" : name}`, () => turns.restore(wrong(name), sequence)],
            ["name is ", () => turns.history(wrong(name))], ["name is ", () => turns.delete(wrong(name))], ["name is ", () => turns.sizeOf(wrong(name))],
            ["name is ", () => turns.fork(wrong(name), "d")], ["name is ", () => turns.fork("c", wrong(name))]
        ]),
        ["LlamaContextSequence", () => turns.save("c", wrong(undefined))], ["LlamaContextSequence", () => turns.restore("c", wrong({}))],
        ["LlamaContextSequence", () => turns.save("c", wrong(context))],
        ["no tokens", () => turns.save("c", context.getSequence())],
        ["circular", () => turns.save("c", sequence, {data: cyclic})], ["JSON", () => turns.save("c", sequence, {data: () => 1})],
        ["BigInt", () => turns.save("c", sequence, {data: 1n})],
        ["half a character", () => turns.save("\ud800", sequence)], ["parked", () => turns.save("\0parked", sequence)], ["parked", () => turns.fork("c", "\0parked x")],
        ["turn is 1", () => turns.restore("c", sequence, {turn: wrong(1)})],
        ["did you mean \"data\"", () => turns.save("c", sequence, wrong({date: 1}))], ["save's options are null", () => turns.save("c", sequence, wrong(null))],
        ["did you mean \"turn\"", () => turns.restore("c", sequence, wrong({trun: "x"}))], ["restore's options are \\[", () => turns.restore("c", sequence, wrong([]))],
        ["ttl is 'x'", () => turns.collectGarbage({ttl: wrong("x")})], ["budget is -1", () => turns.collectGarbage({budget: -1})],
        ["NaN", () => turns.collectGarbage({ttl: NaN})], ["no option \"age\"", () => turns.collectGarbage(wrong({age: 1}))],
        ["give `store`", () => store.openTurns()], ["store is 5", () => store.openTurns({store: wrong(5)})], ["store is \\{", () => store.openTurns({store: wrong({})})],
        ["history is 0", () => store.openTurns({store: new MemoryStore(), history: 0})], ["history is 1.5", () => store.openTurns({store: new MemoryStore(), history: 1.5})],
        ["did you mean \"budget\"", () => store.openTurns(wrong({budgte: 1}))], ["options are 'x'", () => store.openTurns(wrong("x"))]
    ];
    for (const [what, attempt] of attempts) {
        const error = await rejection(attempt()).catch(() => new Error("fulfilled"));
        t.match(error, {code: "OPTION_INVALID", message: new RegExp(what as string)}, `${what}: ${error.message}`);
    }
    const stock = await createContext("stock"), stockSequence = stock.getSequence();
    await stockSequence.evaluateWithoutGeneratingNewTokens(randomTokens(10, 1));
    t.match(await rejection(turns.save("c", stockSequence)), {code: "OPTION_INVALID", message: /stock/});
    t.match(await rejection(turns.restore("c", stockSequence)), {code: "OPTION_INVALID", message: /stock/});
    await isWell(t, turns);
    t.equal((await turns.history("c")).length, 1, "nothing was saved");
    await turns.close();
    await turns.close();
    for (const after of [() => turns.save("c", sequence), () => turns.restore("c", sequence), () => turns.list(), () => turns.delete("c")])
        t.equal(await codeOf(after()), "DISPOSED");
    for (const one of [context, stock]) await one.dispose();
});

t.test("data is what it was when the turn was asked for", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(), sequence = context.getSequence(), data = {mood: ["good"]};
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const saving = turns.save("c", sequence, {data});
    data.mood.push("bad");
    await saving;
    t.strictSame((await turns.restore("c", sequence)).data, {mood: ["good"]});
    t.strictSame((await turns.newest("c"))?.data, {mood: ["good"]});
    t.equal(await turns.newest("d"), null);
    await context.dispose();
});

t.test("a store that can't be written gives what it has", async (t) => {
    const memory = new MemoryStore(), context = await createContext(), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await (await store.openTurns({store: memory})).save("c", sequence);
    const readOnly = await store.openTurns({store: wrapped(memory, {step: () => Promise.reject(new DeltaStoreError("STORE_FAILED", "read only"))})});
    t.match(await readOnly.restore("c", sequence), {evaluated: 0, damaged: []});
    t.equal(await codeOf(readOnly.save("c", sequence)), "STORE_FAILED");
    await context.dispose();
});

t.test("turns that don't fit are refused, and the sequence stays as it was", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext("high", {contextSize: 2048}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 1));
    await turns.save("c", sequence);
    const files = ["llama-wide-group", "qwen3-norms"].map((name) => tinyModelPath(tinyModel(name)));
    const [other, sibling] = await Promise.all(files.map(async (path) => await llama.loadModel({modelPath: await path, gpuLayers: 0})));
    const refuses = async (code: string, context: LlamaContext, of: DeltaStore = store) => {
        const target = context.getSequence();
        await target.evaluateWithoutGeneratingNewTokens(randomTokens(60, 2));
        const before = of.stats(context), {contextTokens} = target;
        const error = await rejection(turns.restore("c", target));
        t.match(error, {name: "DeltaStoreError", code}, error.message);
        t.strictSame(target.contextTokens, contextTokens);
        t.strictSame(of.stats(context).sequences, before.sequences);
        const twin = context.getSequence();
        await twin.evaluateWithoutGeneratingNewTokens(randomTokens(60, 2));
        sameLogits(t, [await nextLogits(target, moreTokens(5, 3))], [await nextLogits(twin, moreTokens(5, 3))]);
        await context.dispose();
    };
    await refuses("TURN_MODEL_MISMATCH", await createContext("high", {contextSize: 2048}, other));
    await refuses("TURN_MODEL_MISMATCH", await createContext("high", {contextSize: 2048}, sibling));
    await refuses("STATE_FORMAT_MISMATCH", await createContext("exact", {contextSize: 2048}));
    await refuses("STATE_TOO_LARGE", await createContext("high", {contextSize: 1024}));
    const limited = await attach(llama, {policy: {tiers, sharing: {automatic: false}, pool: {limit: 2 ** 20}}});
    await refuses("POOL_LIMIT_REACHED", await createContext("high", {contextSize: 2048}), limited);
    await attach(llama, {policy: {tiers, sharing: {automatic: false}}});

    const exact = await createContext("exact"), source = exact.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    await turns.save("c", source);
    await refuses("STATE_FORMAT_MISMATCH", await createContext("high"));
    for (const one of [context, exact]) await one.dispose();
});

t.test("a sequence that gets a turn begins anew with its tier, and keeps what the app chose", async (t) => {
    const ruled = await attach(llama, {policy: {sharing: {automatic: false}, rules: [{tokens: 300, tier: "conservative"}]}});
    const turns = await ruled.openTurns({store: new MemoryStore()}), context = await createContext("high");
    const [small, large, chosen] = [context.getSequence(), context.getSequence(), context.getSequence()];
    await nextLogits(small, randomTokens(100, 1));
    await turns.save("c", small);
    await nextLogits(large, prompt);
    await ruled.setTier(chosen, "compact");
    await nextLogits(chosen, prompt);
    t.equal(ruled.tierOf(large), "conservative");
    for (const target of [large, chosen]) await turns.restore("c", target);
    t.strictSame([large, chosen].map((one) => ruled.tierOf(one)), ["high", "compact"]);
    sameLogits(t, await goOn(large, 3, [1, 30, 60]), await goOn(small, 3, [1, 30, 60]));
    await context.dispose();
    await attach(llama, {policy: {tiers, sharing: {automatic: false}}});
});

t.test("what is restored to the tier of a rule is evicted as it would have been", async (t) => {
    const ruled = await attach(llama, {policy: {tiers, sharing: {automatic: false}, rules: [{tokens: 300, tier: "evicting"}]}});
    const turns = await ruled.openTurns({store: new MemoryStore()}), contexts = [await createContext("high"), await createContext("high")] as const;
    const [source, target] = contexts.map((one) => one.getSequence()) as [LlamaContextSequence, LlamaContextSequence];
    await nextLogits(source, prompt);
    await nextLogits(source, moreTokens(30, 2));
    await turns.save("c", source);
    const changes: unknown[] = [];
    ruled.onEvent.createListener(({type, context, ...event}) => { if (type === "tier") changes.push([context === contexts[1], event]); });
    await turns.restore("c", target);
    t.match(changes, [[true, {tier: "evicting", before: "high", reason: "rule"}]]);
    sameLogits(t, await goOn(target, 3, [60, 60, 60, 60]), await goOn(source, 3, [60, 60, 60, 60]));
    t.ok(ruled.stats(contexts[1]).sequences[0]!.kept < 1);

    // Rows that another tier made are brought to it.
    const plain = await attach(llama, {policy: {tiers, sharing: {automatic: false}}}), context = await createContext("high"), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("plain", sequence);
    await target.clearHistory();
    await turns.restore("plain", target);
    t.equal(ruled.tierOf(target), "evicting");
    t.ok(ruled.stats(contexts[1]).residentBytes < 0.8 * plain.stats(context).residentBytes);
    for (const one of [...contexts, context]) await one.dispose();
    await attach(llama, {policy: {tiers, sharing: {automatic: false}}});
});

t.test("what was restored is shared with others, unless it isn't what a tier promises", async (t) => {
    const sharing = await attach(llama, {policy: {tiers}});
    const turns = await sharing.openTurns({store: new MemoryStore()}), context = await createContext("high"), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    await turns.save("c", sequence);
    const other = await createContext("high"), [target, second, third] = [other.getSequence(), other.getSequence(), sequenceOf(other, "conservative")];
    t.match(await turns.restore("c", target), {evaluated: 0});
    const question = moreTokens(40, 3), expected = await nextLogits(sequence, question);
    sameLogits(t, [await nextLogits(second, [...prompt, ...question])], [expected]);
    t.match(sharing.stats(other).sharing, {attached: 1, attachedTokens: 500});
    await turns.restore("c", third);
    const fourth = sequenceOf(other, "conservative");
    await nextLogits(fourth, [...prompt, ...question]);
    t.match(sharing.stats(other).sharing, {attached: 1}, "rows of another tier are not");
    for (const one of [context, other]) await one.dispose();
    await attach(llama, {policy: {tiers, sharing: {automatic: false}}});
});
