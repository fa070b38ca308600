import {attach, DeltaStoreError, MemoryStore, RedisStore, type Turn, type Turns} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, openLlama, randomTokens, rejection} from "../support/engine.js";
import {dist} from "../support/paths.js";
import {evicting, type Key, keys, someKeys, startServer, warningsOf} from "../support/redis-eviction.js";
import {between} from "../support/redis-proxy.js";
import {noRedis} from "../support/redis-server.js";
import {tinyModel, tinyModelPath} from "../support/tiny-models.js";
import {goOn, isWell, moreTokens, sameLogits, wrapped} from "../support/turns.js";
import {randomFrom} from "./store-oracle.js";
import {failed} from "./store-places.js";

const {Seal} = await import(dist("turns/seal.js")) as typeof import("../../dist/turns/seal.js");

// A turn that is reported as saved can be restored, also where the server evicts. Of the store alone: redis-evictions.test.ts.
t.setTimeout(240_000);

const llama = await openLlama();
const store = await attach(llama, {policy: {sharing: {automatic: false}}});
const model = await llama.loadModel({modelPath: await tinyModelPath(tinyModel("llama-head-128")), gpuLayers: 0});
t.teardown(() => llama.dispose());

async function openContext(t: Test, kvCache = "high", contextSize = 1024): Promise<LlamaContext> {
    const context = await model.createContext({contextSize, sequences: 4, threads: 1, flashAttention: true, batchSize: 256, kvCache} as object);
    t.teardown(() => context.dispose());
    return context;
}

async function openTurns(t: Test, url: string): Promise<Turns> {
    const turns = await store.openTurns({store: url});
    t.teardown(() => turns.close());
    return turns;
}

const whole = {evaluated: 0, damaged: []};

t.test("fifty turns on a server that is too small: those that are reported as saved can be restored, at once and later", {skip: noRedis}, async (t) => {
    const warnings = warningsOf(t), server = await startServer(t, ...evicting("12mb")), turns = await openTurns(t, server.url);
    t.match(await warnings(), [/allkeys-lru.*noeviction/]);
    const context = await openContext(t, "exact", 8192), source = context.getSequence(), target = context.getSequence();
    const saved: {id: string; tokens: number}[] = [], refused: unknown[] = [];
    for (let turn = 0; turn < 50; turn++) {
        await source.evaluateWithoutGeneratingNewTokens(turn === 0 ? randomTokens(120, 1) : moreTokens(120, turn + 1));
        const outcome = await turns.save("anna", source).catch((error: unknown) => error);
        if (outcome instanceof Error) refused.push(outcome);
        else {
            saved.push(outcome as {id: string; tokens: number});
            t.equal(saved.at(-1)!.tokens, source.nextTokenIndex);
        }
        t.match(await turns.restore("anna", target), {turn: {id: saved.at(-1)!.id}, ...whole}, `turn ${turn}`);
    }
    t.ok(saved.length > 10 && refused.length > 3, `${saved.length} were saved, ${refused.length} were not`);
    for (const error of refused) t.match(error, {...failed, message: /is full and would evict/});
    for (const {id, tokens} of saved) {
        const {turn, damaged} = await turns.restore("anna", target, {turn: id});
        t.strictSame([turn.tokens, target.nextTokenIndex, damaged], [tokens, tokens, []]);
    }
    await isWell(t, turns);
    t.equal(await server.evicted(), 0);

    await server.tell("CONFIG", "SET", "maxmemory", "0");
    const {id} = await turns.save("anna", source);
    t.match(await turns.restore("anna", target), {turn: {id, tokens: source.nextTokenIndex}, ...whole});
    sameLogits(t, await goOn(target, 5), await goOn(source, 5));
    await isWell(t, turns);
    t.strictSame(await warnings(), []);
});

t.test("another client fills the server: what is gone is not reported as saved, and once there is memory it is saved again", {skip: noRedis}, async (t) => {
    for (const gone of ["objects", "holdings", "entries"] as const) {
        const server = await startServer(t, "--maxmemory", "16mb", "--maxmemory-policy", "allkeys-random"), turns = await openTurns(t, server.url);
        const context = await openContext(t), source = context.getSequence(), target = context.getSequence();
        await source.evaluateWithoutGeneratingNewTokens(randomTokens(500, 1));
        for (let round = 0; round < 3; round++) {
            t.match(await turns.save("anna", source), {tokens: source.nextTokenIndex});
            t.match(await turns.restore("anna", target), whole);
            await server.fillUntilGone(gone);
            await source.evaluateWithoutGeneratingNewTokens(moreTokens(20, round));
            const outcome = await turns.save("anna", source).catch((error: unknown) => error);
            if (outcome instanceof Error) t.match(outcome, failed, "the server is full of others' keys");
            else t.match(await turns.restore("anna", target), {turn: outcome, ...whole});
            await turns.verify();
            await server.tell("CONFIG", "SET", "maxmemory", "0");
            const {id} = await turns.save("anna", source);
            t.match(await turns.restore("anna", target), {turn: {id}, ...whole});
            sameLogits(t, await goOn(target, 5, [1, 30]), await goOn(source, 5, [1, 30]));
            await server.tell("EVAL", "for _, key in ipairs(redis.call('KEYS', 'other *')) do redis.call('DEL', key) end", "0");
            await server.tell("CONFIG", "SET", "maxmemory", "16mb");
        }
    }
});

t.test("whatever is dropped between any two commands, a turn that is reported as saved can be restored", {skip: noRedis}, async (t) => {
    const server = await startServer(t, ...evicting("256mb")), random = randomFrom(3), some = () => keys.filter(() => random() < 0.4);
    let isLosing = false;
    const url = await between(t, server.url, {before: async () => {
        if (isLosing && random() < 0.12) await server.drop("bytes", ...some());
    }});
    const turns = await openTurns(t, url), others = await openTurns(t, server.url), context = await openContext(t), source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(500, 1));
    const outcomes = {saved: 0, failed: 0};
    for (let round = 0; round < 150; round++) {
        if (round % 5 === 0) await source.evaluateWithoutGeneratingNewTokens(moreTokens(5, round));
        isLosing = true;
        const outcome = await turns.save("anna", source).catch((error: unknown) => error);
        isLosing = false;
        if (outcome instanceof Error) {
            outcomes.failed++;
            t.match(outcome, failed);
        } else {
            outcomes.saved++;
            t.match(await others.restore("anna", target), {turn: {id: (outcome as Turn).id}, ...whole});
        }
        isLosing = true;
        for (const work of [() => turns.verify(), () => turns.collectGarbage(), () => turns.list(), () => turns.sizeOf("anna")])
            await work().catch((error: unknown) => t.match((error as DeltaStoreError).code, /^(STORE_FAILED|TURN_NOT_FOUND)$/));
        isLosing = false;
    }
    t.ok(outcomes.saved > 20 && outcomes.failed > 0, JSON.stringify(outcomes));
    await turns.save("anna", source);
    t.match(await others.restore("anna", target), whole);
    sameLogits(t, await goOn(target, 5), await goOn(source, 5));
});

for (const gone of someKeys) {
    const lost = (key: Key) => gone.includes(key), isKept = !lost("entries") && !lost("objects");
    t.test(`without ${gone.join(", ")}, two conversations that share blocks are saved again`, {skip: noRedis}, async (t) => {
        const server = await startServer(t), turns = await openTurns(t, server.url), context = await openContext(t);
        const [anna, ben, target, other] = Array.from({length: 4}, () => context.getSequence()) as [ReturnType<LlamaContext["getSequence"]>, ...ReturnType<LlamaContext["getSequence"]>[]];
        await anna.evaluateWithoutGeneratingNewTokens(randomTokens(400, 1));
        await turns.save("anna", anna);
        await turns.restore("anna", ben!);
        for (const [at, sequence] of [anna, ben!].entries()) await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(90, 2 + at));
        await turns.save("anna", anna);
        await turns.save("ben", ben!);
        const full = await turns.bytes();
        await server.drop(...gone);
        const problems = async () => (await turns.verify()).problems;
        if (lost("objects") && !lost("entries")) t.ok((await problems()).length > 0 && (await problems()).every((problem) => /is missing|lost count/.test(problem)));
        else if (lost("holdings") && !lost("entries")) t.match(await problems(), [/lost count.*collectGarbage/]);
        else t.strictSame(await problems(), []);

        await server.drop(...gone);
        if (isKept) t.match(await turns.restore("ben", other!), whole, "what is there can be restored");
        else t.match(await codeOf(turns.restore("ben", other!)), lost("entries") ? "TURN_NOT_FOUND" : "TURN_DAMAGED");
        await server.drop(...gone);
        const {id} = await turns.save("anna", anna);
        t.match(await turns.restore("anna", target!), {turn: {id}, ...whole});
        const {id: bens} = await turns.save("ben", ben!);
        t.match(await turns.restore("ben", other!), {turn: {id: bens}, ...whole});
        t.strictSame((await turns.list()).map(({name}) => name).sort(), ["anna", "ben"]);

        // Whoever goes takes nothing along.
        for (let again = 0; again < 3; again++) await turns.save("ben", ben!);
        t.equal(await turns.delete("ben"), true);
        t.match(await turns.restore("anna", other!), {turn: {id}, ...whole});
        await turns.collectGarbage();
        t.match(await turns.restore("anna", other!), {turn: {id}, ...whole});
        sameLogits(t, await goOn(other!, 5, [1, 30]), await goOn(anna, 5, [1, 30]));
        const left = await problems();
        if (lost("objects") && !lost("entries")) t.ok(left.length > 0 && left.every((problem) => problem.includes("is missing")), "earlier turns are gone");
        else t.strictSame(left, []);
        t.ok(await turns.bytes() < full);
        t.equal(await turns.delete("anna"), true);
        t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
        t.equal(await turns.bytes(), 0, "nothing is left that nobody holds");
    });
}

t.test("opening turns counts anew what a store has lost count of", {skip: noRedis}, async (t) => {
    const server = await startServer(t), context = await openContext(t), source = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(300, 1));
    const turns = await openTurns(t, server.url);
    await turns.save("anna", source);
    await server.drop("holdings");
    t.equal((await turns.verify()).problems.length, 1);
    t.equal((await turns.sizeOf("anna")).own, 0, "nothing goes with a conversation while its objects are not counted");
    await isWell(t, await openTurns(t, server.url));
    await isWell(t, turns);
    t.equal((await turns.sizeOf("anna")).own, (await turns.sizeOf("anna")).all);

    // Not if an entry can't be read, as nobody knows what it holds.
    const raw = await RedisStore.open({url: server.url});
    t.teardown(() => raw.close());
    await raw.step({put: [["conversation:other", Buffer.from("of another key")]]});
    await server.drop("holdings");
    await turns.collectGarbage();
    t.ok((await turns.verify()).problems.some((problem) => problem.includes("lost count")));
    t.equal(await turns.delete("anna"), true);
    t.ok((await turns.verify()).objects > 0, "what is not counted stays");
    await raw.step({delete: ["conversation:other"]});
    await turns.collectGarbage();
    t.match(await turns.verify(), {objects: 0, problems: []});
});

t.test("nothing is counted anew by a record that only a later version can read", async (t) => {
    const memory = new MemoryStore(), counted: unknown[] = [], context = await openContext(t), source = context.getSequence();
    const turns = await store.openTurns({store: wrapped(memory, {recount: async (count) => { counted.push(await count()); }})});
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(100, 1));
    const {id} = await turns.save("anna", source), seal = new Seal(null), later = Buffer.from(JSON.stringify({version: 3})), laterId = seal.nameOf(later);
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

t.test("a save ends where the store loses what it is given, again and again", async (t) => {
    const memory = new MemoryStore(), context = await openContext(t), source = context.getSequence();
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
    await source.evaluateWithoutGeneratingNewTokens(randomTokens(500, 1));
    t.match(await rejection(turns.save("anna", source)), {...failed, message: /lost what the turn needs \d+ times/});
});
