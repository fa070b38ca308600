import {randomBytes} from "node:crypto";
import {inspect} from "node:util";
import {inflateRawSync} from "node:zlib";
import {attach, DeltaStoreError, MemoryStore, type SnapshotStore, type Turns} from "llama-deltastore";
import t, {type Test} from "tap";
import {codeOf, openLlama, randomTokens, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {dist} from "../support/paths.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {isWell, moreTokens, nextLogits, wrapped} from "../support/turns.js";

t.setTimeout(240_000);
const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

const llama = await openLlama();
const store = await attach(llama, {policy: {sharing: {automatic: false}}});
const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0});
const context = await model.createContext({contextSize: 512, sequences: 3, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
const source = context.getSequence(), target = context.getSequence();
t.teardown(() => llama.dispose());

const question = moreTokens(1, 9), secret = "a secret of the app";

type Kind = "entry" | "turn" | "centre" | "block" | "tail";

interface Value {
    readonly kind: Kind;
    readonly name: string;
    readonly bytes: Uint8Array;
}

/** A conversation of two turns in memory, and what `read` makes of what is stored. */
class Saved {
    readonly memory = new MemoryStore();
    values: Value[] = [];
    /** By name: undefined where it is missing. */
    readonly instead = new Map<string, Uint8Array | undefined>();
    readonly ids: string[] = [];
    expected = "";
    readonly store: SnapshotStore = wrapped(this.memory, {
        get: async (key) => this.instead.has(key) ? this.instead.get(key) : await this.memory.get(key),
        objects: async (names) => (await this.memory.objects(names)).map((bytes, index) => this.instead.has(names[index]!) ? this.instead.get(names[index]!) : bytes)
    });
    turns!: Turns;

    static async of(key?: Uint8Array): Promise<Saved> {
        const saved = new Saved();
        saved.turns = await store.openTurns({store: saved.store, ...key === undefined ? {} : {key}});
        await source.clearHistory();
        for (const tokens of [randomTokens(260, 1), moreTokens(70, 2)]) {
            await source.evaluateWithoutGeneratingNewTokens(tokens);
            saved.ids.push((await saved.turns.save("c", source, {data: {secret}})).id);
        }
        for await (const name of saved.memory.keys("")) saved.values.push({kind: "entry", name, bytes: (await saved.memory.get(name))!});
        for await (const {name} of saved.memory.inventory()) {
            const bytes = (await saved.memory.objects([name]))[0]!;
            saved.values.push({kind: await saved.#kindOf(name, bytes), name, bytes});
        }
        t.match(await saved.turns.restore("c", target), {evaluated: 0, damaged: []});
        saved.expected = await logitsText();
        return saved;
    }

    /** By what becomes of a restore without it. */
    async #kindOf(name: string, bytes: Uint8Array): Promise<Kind> {
        if (this.ids.includes(name)) return "turn";
        this.instead.set(name, undefined);
        const outcome = await this.turns.restore("c", target).then(({turn}) => turn.id === this.ids[1] ? "tail" : "block", () => "block");
        this.instead.delete(name);
        return outcome === "tail" ? "tail" : bytes.length < 4000 ? "centre" : "block";
    }

    /** What a restore comes to; "wrong" if it gives other logits without a word. */
    async outcome(): Promise<string> {
        let restored;
        try {
            restored = await this.turns.restore("c", target);
        } catch (error) {
            return error instanceof DeltaStoreError ? error.code : `untyped: ${error}`;
        }
        const evaluated = restored.evaluated > 0 && restored.turn.id === this.ids[1];
        if (evaluated) return restored.damaged.length === 1 && restored.damaged[0]!.turn === this.ids[1] ? "evaluated" : "wrong: without a word";
        if (restored.damaged.length > 0) return restored.evaluated > 0 && restored.turn.id === this.ids[0] ? "older" : "wrong: an older turn that is whole";
        return await logitsText() === this.expected ? "same" : "wrong";
    }
}

async function logitsText(): Promise<string> {
    return (await nextLogits(target, question)).join();
}

const kinds: Kind[] = ["entry", "turn", "centre", "block", "tail"];
/** "same" where nobody reads the byte: the first turn's record, and what stands behind the end of coded bytes, or pads them. */
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
        const saved = await Saved.of(key), random = new Gaussian(3), {instead} = saved, outcomes = new Map<string, number>();
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

    t.test(`${name}: what is missing, cut or in another's place is told`, async (t) => {
        const saved = await Saved.of(key), {instead} = saved, outcomes = new Map<string, number>();
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
        t.equal(await codeOf(saved.turns.restore("c", target)), "TURN_DAMAGED", "another conversation's entry");
        instead.clear();
        await isWell(t, saved.turns);
    });

    t.test(`${name}: a newer version is told from damage`, async (t) => {
        const saved = await Saved.of(key), {instead} = saved;
        for (const {kind, name, bytes} of saved.values) {
            const newer = Uint8Array.from(bytes);
            newer[0] = 2;
            instead.set(name, newer);
            const outcome = await saved.outcome();
            if (kind === "entry") t.match(await rejection(saved.turns.restore("c", target)), {code: "TURN_FOREIGN", message: /version 2/});
            else t.match(outcome, /^(older|evaluated|same|TURN_FOREIGN)$/, kind);
            if (kind === "turn" && name === saved.ids[1])
                t.match(await saved.turns.restore("c", target), {damaged: [{turn: name, error: {code: "TURN_FOREIGN"}}], turn: {id: saved.ids[0]}});
            instead.delete(name);
        }
    });

    t.test(`${name}: a damaged conversation can be replaced and deleted, and verify tells of it`, async (t) => {
        const saved = await Saved.of(key), {turns, memory} = saved, entry = saved.values.find(({kind}) => kind === "entry")!;
        const damaged = Uint8Array.from(entry.bytes);
        damaged[20]! ^= 4;
        await memory.step({put: [[entry.name, damaged]]});
        t.ok((await turns.verify()).problems.some((problem) => problem.includes(entry.name)));
        t.strictSame(await turns.list(), []);
        await turns.save("c", source);
        t.equal((await turns.history("c")).length, 1);
        t.match(await turns.restore("c", target), {evaluated: 0, damaged: []});
        await memory.step({put: [[entry.name, damaged]]});
        t.equal(await turns.delete("c"), true);
        t.equal(await codeOf(turns.restore("c", target)), "TURN_NOT_FOUND");
    });
}

t.test("what nobody honest wrote is damage, too", async (t) => {
    const saved = await Saved.of(), seal = new Seal(null), json = (value: unknown) => Buffer.from(JSON.stringify(value));
    const entry = saved.values.find(({kind}) => kind === "entry")!, honest = JSON.parse(Buffer.from(await seal.openEntry(entry.name, entry.bytes)).toString());
    for (const forged of [{...honest, turns: []}, {...honest, turns: [{}]}, {...honest, name: 5}, {version: 1}, {}, null, [], "x"]) {
        await saved.memory.step({put: [[entry.name, await seal.sealEntry(entry.name, json(forged))]]});
        t.equal(await codeOf(saved.turns.restore("c", target)), "TURN_DAMAGED", JSON.stringify(forged));
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
        t.equal(await codeOf(saved.turns.restore("c", target)), "TURN_DAMAGED", JSON.stringify(forged).slice(0, 60));
    }
    const bomb = Buffer.from(entry.bytes);
    bomb.writeUInt32LE(2 ** 30, 2);
    await saved.memory.step({put: [[entry.name, bomb]]});
    t.match(await rejection(saved.turns.restore("c", target)), {code: "TURN_DAMAGED", message: /says to have 1073741824 bytes/});
});

t.test("what is damaged is made whole by the next save that has it, for all that hold it", async (t) => {
    const {turns, memory, values} = await Saved.of(), expected: string[] = [];
    await turns.fork("c", "d");
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
    t.equal(await codeOf(turns.restore("c", target)), "TURN_DAMAGED");
    await source.evaluateWithoutGeneratingNewTokens(moreTokens(3, 5));
    const {id} = await turns.save("c", source);
    t.match(await turns.restore("c", target), {turn: {id}, damaged: [], evaluated: 0});
    t.match(await turns.restore("d", target), {damaged: [], evaluated: 0});
    t.strictSame([await logitsText()], expected);
    await isWell(t, turns);
    for (const name of ["c", "d"]) await turns.delete(name);
    t.equal(await turns.bytes(), 0);
});

t.test("with a key, nothing that is stored says anything to whoever hasn't it", async (t) => {
    const key = randomBytes(32), plain = await Saved.of(), sealed = await Saved.of(key);
    const {contextTokens} = source, tokens = Buffer.from(Uint32Array.from(contextTokens.slice(10, 40)).buffer);
    const says = ({bytes}: Value) => {
        let text = Buffer.from(bytes);
        try {
            text = Buffer.concat([text, inflateRawSync(bytes.subarray(6))]);
        } catch {}
        const parts = text.toString("latin1").split('"');
        return [secret, '"c"'.slice(1, -1)].some((word) => parts.includes(word)) || parts.some((part) => Buffer.from(part, "base64").includes(tokens)) || text.includes(tokens);
    };
    t.strictSame([...new Set(plain.values.filter(says).map(({kind}) => kind))].sort(), ["entry", "turn"], "in plain they do");
    t.strictSame(sealed.values.filter(says).map(({kind}) => kind), []);
    const names = new Set(plain.values.map(({name}) => name));
    t.strictSame(sealed.values.filter(({name}) => names.has(name)), []);

    const other = randomBytes(32), keys: [string, Uint8Array | string | undefined, Saved][] = [
        ["another key", other, sealed], ["no key", undefined, sealed], ["a key for what is in plain", key, plain]
    ];
    for (const [what, wrong, saved] of keys) {
        const error = await rejection(store.openTurns({store: saved.store, ...wrong === undefined ? {} : {key: wrong}}));
        t.match(error, {name: "DeltaStoreError", code: "STORE_KEY_WRONG"}, what);
        const told = inspect(error, {depth: 9, showHidden: true});
        for (const one of [key, other]) for (const form of ["hex", "base64"] as const) t.notOk(told.includes(one.toString(form)));
    }
    // As the environment has it, and one damaged conversation doesn't make it another.
    process.env["DELTASTORE_KEY"] = key.toString("hex");
    t.match(await (await store.openTurns({store: sealed.store})).restore("c", target), {evaluated: 0});
    delete process.env["DELTASTORE_KEY"];
    await sealed.turns.save("d", source);
    sealed.instead.set(sealed.values.find(({kind}) => kind === "entry")!.name, Buffer.alloc(100, 1));
    t.match(await (await store.openTurns({store: sealed.store, key})).restore("d", target), {evaluated: 0});

    for (const wrong of ["hunter2hunter2", randomBytes(31), 5, "z".repeat(64), ""] as (string | Uint8Array)[]) {
        const error = await rejection(store.openTurns({store: new MemoryStore(), key: wrong}));
        t.match(error, {code: "OPTION_INVALID", message: /32 bytes/});
        t.notOk(inspect(error).includes(wrong === "" ? "hunter2" : String(wrong)) && wrong !== (5 as unknown));
    }
});

t.test("a store that fails in the middle leaves the sequence as it was, or evaluates", async (t) => {
    const saved = await Saved.of();
    const failing = (method: "get" | "objects" | "step", after: number) => {
        let calls = 0;
        const fail = () => {
            if (calls++ >= after) throw new DeltaStoreError("STORE_FAILED", "no connection");
        };
        return wrapped(saved.memory, {[method]: async (argument: never) => {
            fail();
            return await saved.memory[method](argument);
        }});
    };
    for (const method of ["get", "objects", "step"] as const) {
        for (let after = 0; after < 5; after++) {
            const turns = await store.openTurns({store: failing(method, after + (method === "get" ? 1 : 0))});
            await target.clearHistory();
            await target.evaluateWithoutGeneratingNewTokens(randomTokens(50, 7));
            const restoring = await codeOf(turns.restore("c", target));
            t.match(restoring, /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            t.ok([50, 330].includes(target.nextTokenIndex));
            t.match(await codeOf(turns.save("e", source)), /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            t.match(await codeOf(turns.delete("e")), /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            await isWell(t, saved.turns);
            await saved.turns.delete("e");
        }
    }
});
