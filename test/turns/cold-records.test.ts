import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {codeOf, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {dist} from "../support/paths.js";
import {isWell} from "../support/turns.js";

const {Archive} = await import(dist("turns/archive.js")) as typeof import("../../dist/turns/archive.js");
const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

t.setTimeout(120_000);

const {createContext, openTurns, taughtStore} = await openCold(t), seal = new Seal(null);
const context = await createContext(), [source, target] = [context.getSequence(), context.getSequence()];

/** Changes the record of a conversation's only turn. */
async function rewrite(memory: MemoryStore, name: string, change: (record: Record<string, unknown>) => object): Promise<void> {
    const archive = new Archive(memory, seal), entry = await archive.read(name), [turn] = entry.conversation!.turns, old = turn!.record ?? turn!.id;
    const record = JSON.parse(Buffer.from((await archive.open([old]))[0]!).toString()) as Record<string, unknown>, bytes = Buffer.from(JSON.stringify(change(record)));
    const id = seal.nameOf(bytes);
    await archive.write(entry, {...entry.conversation!, turns: [{...turn!, record: id}]}, {objects: [[id, await seal.sealObject(id, bytes)]], retain: [id], release: [old]});
}

t.test("turns of version 2 are restored and frozen", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory);
    await source.clearHistory();
    await evaluated(turns, "c", source, randomTokens(400, 1));
    await rewrite(memory, "c", ({keyTurns: _, frozen: __, ...record}) => ({...record, version: 2}));
    t.match(await turns.restore("c", target), {codec: "packed", evaluated: 0, damaged: []});
    sameLogits(t, await goOn(target, 5), await goOn(source, 5));
    await turns.freeze("c", {codec: "transform", ratio: 8});
    t.match(await turns.restore("c", target), {codec: "transform", evaluated: 0, damaged: []});
    await isWell(t, turns);
});

t.test("forged records of frozen turns are refused", async (t) => {
    const memory = await taughtStore(), turns = await openTurns(t, memory);
    await source.clearHistory();
    await evaluated(turns, "c", source, randomTokens(400, 1));
    await turns.freeze("c", {codec: "transform", ratio: 8});
    const frozen = {codec: {name: "transform", ratio: 8}, book: "00".repeat(32)};
    for (const [forged, code] of [
        [{frozen: 5}, "TURN_DAMAGED"], [{frozen: {}}, "TURN_DAMAGED"], [{frozen: {codec: 5, book: null}}, "TURN_DAMAGED"], [{frozen: {codec: {name: "transform", ratio: {}}, book: null}}, "TURN_DAMAGED"],
        [{frozen: {...frozen, codec: {name: "later"}}}, "TURN_FOREIGN"], [{frozen: {...frozen, codec: {name: "transform", ratio: -1}}}, "TURN_FOREIGN"], [{frozen}, "TURN_DAMAGED"],
        [{frozen: null}, "TURN_FOREIGN"], [{frozen: {codec: frozen.codec, book: null}}, "TURN_DAMAGED"], [{keyTurns: 5}, "TURN_DAMAGED"], [{tail: 5}, "TURN_DAMAGED"], [{version: 4}, "TURN_FOREIGN"]
    ] as const) {
        const copy = "d";
        await turns.fork("c", copy);
        await rewrite(memory, copy, (record) => ({...record, ...forged}));
        t.equal(await codeOf(turns.restore(copy, target)), code, JSON.stringify(forged));
    }
});
