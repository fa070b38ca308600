import {randomBytes} from "node:crypto";
import {inspect} from "node:util";
import t, {type Test} from "tap";
import {openDamagedTurns, type Kind} from "../support/damaged-turns.js";
import {codeOf, moreTokens, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {isWell} from "../support/turns.js";

t.setTimeout(240_000);

const {source, target, logitsText, Saved} = await openDamagedTurns(t);

const kinds: Kind[] = ["entry", "turn", "centre", "block", "tail"];
/** "same" where no restore reads the byte: in the first turn's record, behind the end of coded bytes, and in their padding. */
const allowed: Record<Kind, RegExp> = {
    entry: /^(TURN_DAMAGED|TURN_FOREIGN|same)$/, turn: /^(older|same)$/, centre: /^(TURN_DAMAGED|TURN_FOREIGN|older|same)$/,
    block: /^(TURN_DAMAGED|TURN_FOREIGN|older|same)$/, tail: /^(evaluated|same)$/
};

function tally(t: Test, outcomes: Map<string, number>, kind: Kind, outcome: string, what: string): void {
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (!allowed[kind].test(outcome)) t.fail(`${kind}, ${what}: ${outcome}`);
}

for (const [name, key] of [["in plain", undefined], ["encrypted", randomBytes(32)]] as const) {
    t.test(`${name}: no flipped byte goes unnoticed`, async (t) => {
        const saved = await Saved.of(t, key), random = new Gaussian(3), {instead} = saved, outcomes = new Map<string, number>();
        t.strictSame([...new Set(saved.values.map(({kind}) => kind))].sort(), [...kinds].sort());
        let flips = 0, unread = 0;
        for (const {kind, name, bytes} of saved.values) {
            const places = new Set(Array.from({length: 64}, (_, place) => place).concat(Array.from({length: 180}, () => random.integer(bytes.length))));
            for (const place of places) {
                const changed = Uint8Array.from(bytes);
                changed[place]! ^= random.integer(2) === 0 ? 1 << random.integer(8) : 1 + random.integer(255);
                instead.set(name, changed);
                const outcome = await saved.outcome();
                tally(t, outcomes, kind, outcome, `byte ${place} of ${bytes.length}`);
                if (outcome === "same" && name !== saved.ids[0]) unread++;
                instead.delete(name);
                flips++;
            }
        }
        t.ok(flips >= 2000, `${flips} flips: ${inspect(outcomes)}`);
        t.ok(unread <= (key === undefined ? 10 : 0), `${unread} bytes that nobody reads`);
        t.equal(await saved.outcome(), "same");
        await isWell(t, saved.turns);
    });

    t.test(`${name}: values that are missing, cut or swapped are told`, async (t) => {
        const saved = await Saved.of(t, key), {instead} = saved, outcomes = new Map<string, number>();
        for (const {kind, name, bytes} of saved.values) {
            instead.set(name, undefined);
            const missing = await saved.outcome();
            if (kind === "entry") t.equal(missing, "TURN_NOT_FOUND");
            else tally(t, outcomes, kind, missing, "missing");
            for (const length of [0, 1, 5, 6, 7, 21, 33, 34, bytes.length >> 1, bytes.length - 16, bytes.length - 1]) {
                instead.set(name, bytes.subarray(0, length));
                tally(t, outcomes, kind, await saved.outcome(), `cut to ${length} of ${bytes.length}`);
            }
            instead.set(name, Buffer.concat([bytes, Buffer.alloc(1)]));
            tally(t, outcomes, kind, await saved.outcome(), "a byte longer");
            for (const other of saved.values) {
                if (other.name === name) continue;
                instead.set(name, other.bytes).set(other.name, bytes);
                const swapped = await saved.outcome();
                t.match(swapped, /^(TURN_DAMAGED|older|evaluated|same)$/, `${kind} and ${other.kind}: ${swapped}`);
                if (swapped === "same") t.strictSame([kind, other.kind].includes("turn"), true, "only what the newest turn does not need");
                instead.delete(other.name);
            }
            instead.delete(name);
        }
        await saved.turns.save("d", source);
        const entries = [];
        for await (const name of saved.memory.keys("")) entries.push(name);
        const [first, second] = entries as [string, string];
        instead.set(first, await saved.memory.get(second)).set(second, await saved.memory.get(first));
        t.equal(await codeOf(saved.turns.restore("a chat", target)), "TURN_DAMAGED", "another conversation's entry");
        instead.clear();
        await isWell(t, saved.turns);
    });

    t.test(`${name}: a newer version is told from damage`, async (t) => {
        const saved = await Saved.of(t, key), {instead} = saved;
        for (const {kind, name, bytes} of saved.values) {
            const newer = Uint8Array.from(bytes);
            newer[0] = 2;
            instead.set(name, newer);
            const outcome = await saved.outcome();
            if (kind === "entry") t.match(await rejection(saved.turns.restore("a chat", target)), {code: "TURN_FOREIGN", message: /version 2/});
            else t.match(outcome, /^(older|evaluated|same|TURN_FOREIGN)$/, kind);
            if (kind === "turn" && name === saved.ids[1])
                t.match(await saved.turns.restore("a chat", target), {damaged: [{turn: name, error: {code: "TURN_FOREIGN"}}], turn: {id: saved.ids[0]}});
            instead.delete(name);
        }
    });

    t.test(`${name}: verify tells of a damaged conversation, which can be replaced and deleted`, async (t) => {
        const saved = await Saved.of(t, key), {turns, memory} = saved, entry = saved.values.find(({kind}) => kind === "entry")!;
        const damaged = Uint8Array.from(entry.bytes);
        damaged[20]! ^= 4;
        await memory.step({put: [[entry.name, damaged]]});
        t.ok((await turns.verify()).problems.some((problem) => problem.includes(entry.name)));
        t.strictSame(await turns.list(), []);
        await turns.save("a chat", source);
        t.equal((await turns.history("a chat")).length, 1);
        t.match(await turns.restore("a chat", target), {evaluated: 0, damaged: []});
        await memory.step({put: [[entry.name, damaged]]});
        t.equal(await turns.delete("a chat"), true);
        t.equal(await codeOf(turns.restore("a chat", target)), "TURN_NOT_FOUND");
    });
}

t.test("the next save that has a damaged block makes it whole, for all conversations that hold it", async (t) => {
    const {turns, memory, values} = await Saved.of(t), expected: string[] = [];
    await turns.fork("a chat", "d");
    await turns.restore("d", target);
    expected.push(await logitsText());
    for (const {name, bytes} of values.filter(({kind}) => kind === "block" || kind === "centre")) {
        const damaged = Uint8Array.from(bytes);
        damaged[bytes.length >> 1]! ^= 1;
        for await (const {name: other, holders} of memory.inventory()) {
            if (other !== name) continue;
            const held = Array<string>(holders).fill(name);
            await memory.step({release: held});
            await memory.step({objects: [[name, damaged]], retain: held});
        }
    }
    t.equal(await codeOf(turns.restore("a chat", target)), "TURN_DAMAGED");
    await source.evaluateWithoutGeneratingNewTokens(moreTokens(3, 5));
    const {id} = await turns.save("a chat", source);
    t.match(await turns.restore("a chat", target), {turn: {id}, damaged: [], evaluated: 0});
    t.match(await turns.restore("d", target), {damaged: [], evaluated: 0});
    t.strictSame([await logitsText()], expected);
    await isWell(t, turns);
    for (const name of ["a chat", "d"]) await turns.delete(name);
    t.equal(await turns.bytes(), 0);
});
