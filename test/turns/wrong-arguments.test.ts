import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {codeOf, randomTokens, rejection} from "../support/engine.js";
import {openTurnsEngine} from "../support/turns-engine.js";
import {isWell} from "../support/turns.js";

t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

t.test("wrong arguments are refused by name, and closed turns refuse everything", async (t) => {
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
