import {DeltaStoreError, MemoryStore} from "llama-deltastore";
import t from "tap";
import {openDamagedTurns} from "../support/damaged-turns.js";
import {codeOf, randomTokens, rejection} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {isWell, wrapped} from "../support/turns.js";
import {failed} from "./store-places.js";

const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

t.setTimeout(240_000);

const {store, source, target, Saved} = await openDamagedTurns(t);

t.test("a store that fails in the middle leaves a whole sequence, and can be used again", async (t) => {
    const saved = await Saved.of(t);
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
            const restoring = await codeOf(turns.restore("a chat", target));
            t.match(restoring, /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            t.ok([50, 330].includes(target.nextTokenIndex));
            t.match(await codeOf(turns.save("e", source)), /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            t.match(await codeOf(turns.delete("e")), /^(fulfilled|STORE_FAILED)$/, `${method} ${after}`);
            await isWell(t, saved.turns);
            await saved.turns.delete("e");
        }
    }
});

t.test("a store that can't be written still restores what it has", async (t) => {
    const memory = new MemoryStore();
    await source.clearHistory();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(300, 1));
    await (await store.openTurns({store: memory})).save("a chat", source);
    const readOnly = await store.openTurns({store: wrapped(memory, {step: () => Promise.reject(new DeltaStoreError("STORE_FAILED", "read only"))})});
    t.match(await readOnly.restore("a chat", target), {evaluated: 0, damaged: []});
    t.equal(await codeOf(readOnly.save("a chat", source)), "STORE_FAILED");
});

t.test("a store with a record of a later version is not counted anew", async (t) => {
    const memory = new MemoryStore(), counted: unknown[] = [];
    const turns = await store.openTurns({store: wrapped(memory, {recount: async (count) => { counted.push(await count()); }})});
    await source.clearHistory();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    const {id} = await turns.save("anna", source), seal = new Seal(null), later = Buffer.from(JSON.stringify({version: 4})), laterId = seal.nameOf(later);
    await turns.collectGarbage();
    for await (const key of memory.keys("")) {
        const entry = Buffer.from(await seal.openEntry(key, (await memory.get(key))!)).toString();
        await memory.step({
            put: [[key, await seal.sealEntry(key, Buffer.from(entry.replaceAll(id, laterId)))]], objects: [[laterId, await seal.sealObject(laterId, later)]], retain: [laterId]
        });
    }
    await turns.collectGarbage();
    t.strictSame(counted.map((one) => one && Object.keys(one)), [["entries", "holders"], ["entries", "holders"], null]);
});

t.test("a save gives up when the store keeps losing what it is given", async (t) => {
    const memory = new MemoryStore();
    let steps = 0;
    const turns = await store.openTurns({store: wrapped(memory, {
        async step(step) {
            if (steps++ > 1000) throw new DeltaStoreError("DISPOSED", "it has no end");
            const outcome = await memory.step(step), unheld: string[] = [];
            for await (const {name, holders} of memory.inventory()) if (holders === 0) unheld.push(name);
            await memory.step({sweep: unheld});
            return outcome;
        }
    })});
    await source.clearHistory();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(500, 1));
    t.match(await rejection(turns.save("anna", source)), {...failed, message: /lost what the turn needs \d+ times/});
});
