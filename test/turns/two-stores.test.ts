import {LmdbStore, type Turn, type Turns} from "llama-deltastore";
import type {LlamaContextSequence, Token} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {openTurnsEngine} from "../support/turns-engine.js";
import {inventoryOf, isWell, storeFolder} from "../support/turns.js";

t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

/** Two `Turns` on one folder, as two processes have them. */
async function twoOn(t: Test, options: object = {}): Promise<[Turns, Turns, LmdbStore]> {
    const folder = storeFolder(t), [first, second] = [await LmdbStore.open(folder), await LmdbStore.open(folder)];
    const both = [await store.openTurns({store: first, ...options}), await store.openTurns({store: second, ...options})] as const;
    t.teardown(() => Promise.all(both.map((turns) => turns.close())));
    return [...both, first];
}

t.test("300 random operations on two stores of one folder leave what the calls say", async (t) => {
    const history = 4, [first, second, lmdb] = await twoOn(t, {history});
    const context = await createContext("conservative", {sequences: 6}), random = new Gaussian(77);
    const sequences = Array.from({length: 6}, () => context.getSequence()), names = ["a", "b", "c", "d", "e"];
    /** By conversation: the tokens of each of its turns. */
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

t.test("concurrent saves of one conversation lose no turn and keep their order", async (t) => {
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

    // The first save has much to store, the others next to nothing.
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

t.test("a turn that is dropped while it is restored or forked is not taken for damaged", async (t) => {
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
