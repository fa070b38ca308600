import {randomBytes} from "node:crypto";
import {inspect} from "node:util";
import {inflateRawSync} from "node:zlib";
import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {openDamagedTurns, secret, type Value} from "../support/damaged-turns.js";
import {rejection} from "../support/engine.js";

t.setTimeout(240_000);

const {store, source, target, Saved} = await openDamagedTurns(t);

t.test("with a key, stored bytes and names tell nothing, and a wrong key is refused without being told", async (t) => {
    const key = randomBytes(32), plain = await Saved.of(t), sealed = await Saved.of(t, key);
    const {contextTokens} = source, tokens = Buffer.from(Uint32Array.from(contextTokens.slice(10, 40)).buffer);
    const says = ({bytes}: Value) => {
        let text = Buffer.from(bytes);
        try {
            text = Buffer.concat([text, inflateRawSync(bytes.subarray(6))]);
        } catch {}
        const parts = text.toString("latin1").split('"');
        return [secret, "a chat"].some((word) => parts.includes(word)) || parts.some((part) => Buffer.from(part, "base64").includes(tokens)) || text.includes(tokens);
    };
    t.strictSame([...new Set(plain.values.filter(says).map(({kind}) => kind))].sort(), ["entry", "turn"], "in plain they do");
    t.strictSame(sealed.values.filter(says).map(({kind}) => kind), []);
    const names = new Set(plain.values.map(({name}) => name));
    t.strictSame(sealed.values.filter(({name}) => names.has(name)), []);

    const other = randomBytes(32), keys: [string, Uint8Array | string | undefined, typeof plain][] = [
        ["another key", other, sealed], ["no key", undefined, sealed], ["a key for what is in plain", key, plain]
    ];
    for (const [what, wrong, saved] of keys) {
        const error = await rejection(store.openTurns({store: saved.store, ...wrong === undefined ? {} : {key: wrong}}));
        t.match(error, {name: "DeltaStoreError", code: "STORE_KEY_WRONG"}, what);
        const told = inspect(error, {depth: 9, showHidden: true});
        for (const one of [key, other]) for (const form of ["hex", "base64"] as const) t.notOk(told.includes(one.toString(form)));
    }
    // The environment's key is used, and a damaged conversation does not make it a wrong one.
    process.env["DELTASTORE_KEY"] = key.toString("hex");
    t.match(await (await store.openTurns({store: sealed.store})).restore("a chat", target), {evaluated: 0});
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
