import {DeltaStoreError, MemoryStore} from "llama-deltastore";
import {DisposedError} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, randomTokens} from "../support/engine.js";
import {nextLogits} from "../support/logits.js";
import {openTurnsEngine, prompt} from "../support/turns-engine.js";
import {isWell, storeFolder, wrapped} from "../support/turns.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

t.test("a save or restore that meets a disposal succeeds or ends in a typed error", async (t) => {
    const memory = new MemoryStore(), turns = await store.openTurns({store: memory});
    const source = await createContext("evicting"), sequence = source.getSequence();
    await nextLogits(sequence, prompt);
    await turns.save("c", sequence);
    const outcomes = new Set<string>(), tell = (error: unknown) => {
        t.ok(error instanceof DeltaStoreError || error instanceof DisposedError, `${error}`);
        outcomes.add((error as Error).name);
    };
    for (let delay = 0; delay < 8; delay++) {
        for (const what of ["context", "sequence"] as const) {
            const context = await createContext("evicting"), busy = context.getSequence(), target = context.getSequence();
            await nextLogits(busy, randomTokens(300, delay));
            const doing = [turns.save(`d${delay}${what}`, busy), turns.restore("c", target)].map((promise) => promise.then(() => outcomes.add("done"), tell));
            for (let step = 0; step < delay * 3; step++) await new Promise(setImmediate);
            if (what === "context") await context.dispose();
            else for (const one of [busy, target]) one.dispose();
            await Promise.all(doing);
            if (what === "sequence") {
                await settled(20);
                const heir = context.getSequence(), {contextTokens} = heir;
                t.strictSame(contextTokens, []);
                t.equal((await generate(heir, randomTokens(30, 3), 3)).length, 3, "the number is another's");
                t.strictSame(store.stats(context).sequences.map(({tokens}) => tokens), [32]);
                await context.dispose();
            }
        }
    }
    t.ok(outcomes.size > 1, [...outcomes].join());
    await isWell(t, turns);
    await source.dispose();
    t.equal(await codeOf(turns.save("c", sequence)), "DISPOSED");
    t.equal(await codeOf(turns.restore("c", sequence)), "DISPOSED");
});

t.test("closing turns ends a restore with a typed error, and rejects nothing unhandled", async (t) => {
    const folder = storeFolder(t), context = await createContext("exact"), sequence = context.getSequence(), codes = new Set<string>();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    const unhandled: unknown[] = [], listener = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listener);
    t.teardown(() => process.off("unhandledRejection", listener));
    for (let wait = 0; wait < 12; wait++) {
        const turns = await store.openTurns({store: folder});
        if (wait === 0) await turns.save("c", sequence);
        const restoring = codeOf(turns.restore("c", sequence));
        if (wait > 0) await settled(wait - 1);
        await turns.close();
        codes.add(await restoring);
    }
    await settled();
    t.ok([...codes].every((code) => ["fulfilled", "DISPOSED"].includes(code)) && codes.has("DISPOSED"), [...codes].join());
    t.strictSame(unhandled, []);
    await context.dispose();
});

t.test("a context's disposal waits for the turn that is being saved", async (t) => {
    const memory = new MemoryStore();
    let begun = () => {}, goAhead = () => {};
    const asked = new Promise<void>((resolve) => begun = resolve), answered = new Promise<void>((resolve) => goAhead = resolve);
    const turns = await store.openTurns({store: wrapped(memory, {
        async stored(names) {
            begun();
            await answered;
            return await memory.stored(names);
        }
    })});
    const context = await createContext("high", {contextSize: 2048}), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(1500, 1));  // more blocks than one step takes
    const expected = sequence.contextTokens, saving = turns.save("c", sequence);
    await asked;
    let disposed = false;
    const disposing = context.dispose().then(() => disposed = true);
    await settled(200);
    t.notOk(disposed);
    t.throws(() => store.stats(context), {code: "DISPOSED"});
    goAhead();
    await saving;
    await disposing;
    const other = await createContext("high", {contextSize: 2048}), target = other.getSequence();
    t.match(await turns.restore("c", target), {evaluated: 0});
    t.strictSame(target.contextTokens, expected);
    await isWell(t, turns);
    await other.dispose();
});
