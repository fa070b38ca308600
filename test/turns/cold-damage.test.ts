import {inspect} from "node:util";
import {randomBytes} from "node:crypto";
import {DeltaStoreError, MemoryStore} from "llama-deltastore";
import t from "tap";
import {evaluated, lossy, openCold} from "../support/cold.js";
import {moreTokens, randomTokens} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {nextLogits} from "../support/logits.js";
import {wrapped} from "../support/turns.js";

t.setTimeout(240_000);

const {createContext, openTurns, taughtStore} = await openCold(t);
const context = await createContext(), [source, target] = [context.getSequence(), context.getSequence()];
const logits = async (): Promise<string> => (await nextLogits(target, moreTokens(1, 9))).join();

for (const options of lossy) for (const key of options.codec === "channel" ? [undefined, randomBytes(32)] : [undefined]) {
    t.test(`${options.codec}, ${key === undefined ? "in plain" : "encrypted"}: no flipped byte of what is frozen goes unnoticed`, async (t) => {
        const memory = key === undefined ? await taughtStore() : new MemoryStore(), turns = await openTurns(t, memory, key === undefined ? {} : {key}), instead = new Map<string, Uint8Array | undefined>(), random = new Gaussian(3);
        const openDamaged = () => openTurns(t, wrapped(memory, {
            objects: async (names) => (await memory.objects(names)).map((bytes, index) => instead.has(names[index]!) ? instead.get(names[index]!) : bytes),
            close: async () => undefined
        }), key === undefined ? {} : {key});
        await source.clearHistory();
        const first = await evaluated(turns, "c", source, randomTokens(300, 1)), second = await evaluated(turns, "c", source, moreTokens(70, 2));
        await turns.freeze("c", options);
        t.match(await turns.restore("c", target), {codec: options.codec, evaluated: 0, damaged: []});
        const expected = await logits(), values: [string, Uint8Array][] = [], outcomes = new Map<string, number>();
        await turns.delete("lessons");
        await turns.collectGarbage();
        for await (const {name} of memory.inventory()) values.push([name, (await memory.objects([name]))[0]!]);
        let damagedTurns = await openDamaged();
        const outcome = async (): Promise<string> => {
            try {
                const {turn, evaluated, damaged} = await damagedTurns.restore("c", target);
                if (turn.id === first.id && damaged.length === 1) return "older";
                if (evaluated > 0) return damaged.length === 1 && turn.id === second.id ? "evaluated" : "wrong: without a word";
                return await logits() === expected ? "same" : "wrong";
            } catch (error) {
                return error instanceof DeltaStoreError ? error.code : `untyped: ${error}`;
            }
        };
        let flips = 0, unread = 0;
        for (const [name, bytes] of values) for (let flip = 0; flip < 16; flip++) {
            const changed = Uint8Array.from(bytes);
            changed[flip < 8 ? flip : random.integer(bytes.length)]! ^= 1 << random.integer(8);
            if (flip === 0) damagedTurns = await openDamaged();  // a book that is open is not read again
            instead.set(name, changed);
            const found = await outcome();
            outcomes.set(found, (outcomes.get(found) ?? 0) + 1);
            if (found === "same") unread++;
            if (!/^(TURN_DAMAGED|TURN_FOREIGN|older|evaluated|same)$/.test(found)) t.fail(`byte ${flip} of ${bytes.length}: ${found}`);
            flips++;
            instead.delete(name);
        }
        t.ok(unread <= 16 + (key === undefined ? 10 : 0), `${unread} of ${flips} bytes that nobody reads, those of the older turn's record among them: ${inspect(outcomes)}`);
        t.equal(await outcome(), "same");
        for (const [name] of values) {
            instead.set(name, undefined);
            damagedTurns = await openDamaged();
            t.match(await outcome(), /^(TURN_DAMAGED|older|evaluated|same)$/);
            instead.delete(name);
        }
    });
}

t.test("verify thaws what is frozen, or says why not", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory);
    await source.clearHistory();
    await evaluated(turns, "c", source, randomTokens(300, 1));
    await turns.freeze("c", {codec: "transform", ratio: 8});
    t.match(await turns.verify(), {problems: [], notThawed: null});
    t.match(await turns.verify(async () => await Promise.reject(new Error("no engine"))), {problems: [], thawed: 0, notThawed: "no engine"});
});
