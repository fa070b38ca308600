import t from "tap";
import {openDamagedTurns} from "../support/damaged-turns.js";
import {codeOf, rejection} from "../support/engine.js";
import {dist} from "../support/paths.js";

const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

t.setTimeout(240_000);

const {target, Saved} = await openDamagedTurns(t);

t.test("forged entries and records are refused as damaged", async (t) => {
    const saved = await Saved.of(t), seal = new Seal(null), json = (value: unknown) => Buffer.from(JSON.stringify(value));
    const entry = saved.values.find(({kind}) => kind === "entry")!, honest = JSON.parse(Buffer.from(await seal.openEntry(entry.name, entry.bytes)).toString());
    for (const forged of [{...honest, turns: []}, {...honest, turns: [{}]}, {...honest, name: 5}, {version: 1}, {}, null, [], "x"]) {
        await saved.memory.step({put: [[entry.name, await seal.sealEntry(entry.name, json(forged))]]});
        t.equal(await codeOf(saved.turns.restore("a chat", target)), "TURN_DAMAGED", JSON.stringify(forged));
        t.strictSame(await saved.turns.list(), []);
        t.strictSame(await saved.turns.collectGarbage({ttl: 1000}), {conversations: 0, bytes: 0});
    }
    const turn = saved.values.find(({kind, name}) => kind === "turn" && name === saved.ids[1])!;
    const record = JSON.parse(Buffer.from(await seal.openObject(turn.name, turn.bytes)).toString());
    for (const forged of [{...record, tokens: "AAAA"}, {...record, tokens: 5}, {...record, blocks: "x"}, {...record, tier: null}, {}, null]) {
        const bytes = json(forged), id = seal.nameOf(bytes);
        await saved.memory.step({
            objects: [[id, await seal.sealObject(id, bytes)]],
            put: [[entry.name, await seal.sealEntry(entry.name, json({...honest, turns: [{...honest.turns[1], id}]}))]]
        });
        t.equal(await codeOf(saved.turns.restore("a chat", target)), "TURN_DAMAGED", JSON.stringify(forged).slice(0, 60));
    }
    const bomb = Buffer.from(entry.bytes);
    bomb.writeUInt32LE(2 ** 30, 2);
    await saved.memory.step({put: [[entry.name, bomb]]});
    t.match(await rejection(saved.turns.restore("a chat", target)), {code: "TURN_DAMAGED", message: /says to have 1073741824 bytes/});
});
