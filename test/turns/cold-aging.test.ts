import {attach, type MemoryStore} from "llama-deltastore";
import t from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {randomTokens} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {isWell, wrapped} from "../support/turns.js";
import {settled} from "../support/waiting.js";

const {Archive} = await import(dist("turns/archive.js")) as typeof import("../../dist/turns/archive.js");
const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

t.setTimeout(120_000);

const day = 86_400_000, {llama, createContext, openTurns, taughtStore} = await openCold(t);
const context = await createContext(), [source, target] = [context.getSequence(), context.getSequence()];
const cold = [{after: "7d", codec: "transform", ratio: 8}, {after: "90d", codec: "tokens"}] as const;

/** As if nobody had used the conversation for so many days. */
async function age(memory: MemoryStore, name: string, days: number): Promise<void> {
    const archive = new Archive(memory, new Seal(null)), entry = await archive.read(name);
    await archive.write(entry, {...entry.conversation!, usedAt: Date.now() - days * day}, {});
}

t.test("conversations are frozen step by step as they get older, and are warm again once they are used", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory, {cold}), codecs = async () => Object.fromEntries((await turns.list()).map(({name, codec}) => [name, codec]));
    const names = ["new", "old", "oldest"];
    for (const [index, name] of names.entries()) {
        await source.clearHistory();
        await evaluated(turns, name, source, randomTokens(300, index));
    }
    await age(memory, "new", 6.9);
    await age(memory, "old", 7.1);
    await age(memory, "oldest", 91);
    const {frozen, left} = await turns.freezeByAge();
    t.strictSame([frozen.map(({conversation, codec}) => [conversation, codec.name]).sort(), left], [[["old", "transform"], ["oldest", "tokens"]], []]);
    t.match(await codecs(), {new: "packed", old: "transform", oldest: "tokens", lessons: "packed"});
    t.strictSame((await turns.freezeByAge()).frozen, [], "once");
    await age(memory, "old", 95);
    t.match((await turns.freezeByAge()).frozen, [{conversation: "old", codec: {name: "tokens"}}]);

    t.match(await turns.restore("old", target), {codec: "tokens", evaluated: 300});
    await age(memory, "old", 8);
    t.strictSame((await turns.freezeByAge()).frozen, [], "what has no rows stays without");
    await turns.save("old", target);
    await age(memory, "old", 8);
    t.match((await turns.freezeByAge()).frozen, [{conversation: "old", codec: {name: "transform"}, turns: 1}]);
    t.match(await turns.freezeByAge([{after: 0, codec: {name: "transform", ratio: 3}}]),
        {frozen: [{conversation: "new"}, {conversation: "lessons"}].sort(), left: []}, "another lossy codec leaves them");
    t.match(await codecs(), {old: "transform", oldest: "tokens"});
    await isWell(t, turns);
});

t.test("a conversation that is used just before it is frozen stays as it is", async (t) => {
    const memory = await taughtStore(), quiet = await openTurns(t, memory);
    await age(memory, "lessons", 8);
    await source.clearHistory();
    await evaluated(quiet, "c", source, randomTokens(300, 1));
    await age(memory, "c", 8);
    let used = false;
    const turns = await openTurns(t, wrapped(memory, {
        step: async (step) => {
            if (!used && step.put !== undefined) {
                used = true;
                for (const name of ["c", "lessons"]) await age(memory, name, 0);
            }
            return await memory.step(step);
        }, close: async () => undefined
    }), {cold});
    t.strictSame(await turns.freezeByAge(), {frozen: [], left: []});
    t.match((await quiet.list()).map(({codec}) => codec), ["packed", "packed"]);
    await quiet.collectGarbage();
    await isWell(t, quiet);
});

t.test("the policy says so, too; it happens by itself, and again; and errors are told once", async (t) => {
    const memory = await taughtStore(), store = await attach(llama, {policy: {turns: {store: "unused", cold: [...cold]}}});
    let fails = false;
    const turns = await store.openTurns({store: wrapped(memory, {keys: (prefix) => {
        if (fails && prefix === "conversation:") throw new Error("no connection");
        return memory.keys(prefix);
    }})});
    const codecOf = async () => (await turns.list())[0]!.codec, warnings: string[] = [], warn = (warning: Error) => void warnings.push(warning.message);
    process.on("warning", warn);
    t.teardown(() => process.off("warning", warn));
    turns.beginCooling({first: 10, every: 20});
    await settled(100);
    t.equal(await codecOf(), "packed");
    await age(memory, "lessons", 8);
    for (let waited = 0; await codecOf() === "packed" && waited < 20_000; waited += 50) await settled();
    t.equal(await codecOf(), "transform");
    fails = true;
    await settled(200);
    t.strictSame(warnings, ["llama-deltastore can't freeze conversations in memory: no connection"]);
    await turns.close();
});
