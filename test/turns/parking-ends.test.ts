import {spawnSync} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {attach, LmdbStore, type PolicyFile} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openParkingEngine, parkedPrompt} from "../support/parking.js";
import {dist, root} from "../support/paths.js";
import {isWell, storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

const {isAbandoned, parkedName} = await import(dist("turns/parked-name.js")) as typeof import("../../dist/turns/parked-name.js");

t.setTimeout(120_000);

const {llama, model, modelPath, open} = await openParkingEngine(t);
const alive = setInterval(() => undefined, 1000);  // parking alone keeps no process
t.teardown(() => clearInterval(alive));

const {step} = LmdbStore.prototype;
t.afterEach(() => { LmdbStore.prototype.step = step; });

t.test("a request that needs memory does not wait for a slow parking", async (t) => {
    const {context, twins, events} = await open(t, {kvCache: "exact", park: 0.3, policy: {pool: {limit: "3MB"}}});
    const [idle, twin] = [context, twins].map((one) => one.getSequence()) as [LlamaContextSequence, LlamaContextSequence];
    for (const one of [idle, twin]) await nextLogits(one, parkedPrompt);
    let slow = true;
    const begun = new Promise<void>((resolve) => {
        LmdbStore.prototype.step = async function (given) {
            if (slow) {
                slow = false;
                resolve();
                await settled(1500);
            }
            return await step.call(this, given);
        };
    });
    await begun;
    const other = context.getSequence();
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(600, 2));
    t.match(events, [{type: "park", sequenceId: 0, tokens: 400}]);
    await other.clearHistory();
    sameLogits(t, await goOn(idle, 1), await goOn(twin, 1));
    await settled(1600);  // until the other attempt has ended
    sameLogits(t, await goOn(idle, 5), await goOn(twin, 5));
});

t.test("a parking that is overtaken before it has begun is no failure", async (t) => {
    const {context, events} = await open(t, {kvCache: "exact", park: 0.3, policy: {pool: {limit: "3MB"}}}), warnings: Error[] = [], opens = LmdbStore.open;
    const listener = (warning: Error) => warnings.push(warning);
    process.on("warning", listener);
    t.teardown(() => {
        process.off("warning", listener);
        LmdbStore.open = opens;
    });
    const begun = new Promise<void>((resolve) => {
        LmdbStore.open = async function (path) {
            resolve();
            await settled(500);
            return await opens.call(this, path);
        };
    });
    const [idle, other] = [context.getSequence(), context.getSequence()];
    await idle.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await begun;
    await other.evaluateWithoutGeneratingNewTokens(randomTokens(600, 2));
    t.match(events, [{type: "park", sequenceId: 0}]);
    await settled(800);
    t.match(events, [{sequenceId: 0}, {type: "park", sequenceId: 1}], "and parking goes on");
    t.strictSame(warnings, []);
});

t.test("parkings that are overtaken leave nothing in the store, and parking goes on within its budget", async (t) => {
    const budget = 3e6, {context, events, turns} = await open(t, {kvCache: "exact", park: 0.1, budget});
    const sequences = [context.getSequence(), context.getSequence()], tokens = [0, 1].map((seed) => randomTokens(350, seed));
    let stored = 0, atStore = (): Promise<unknown> => Promise.resolve();
    LmdbStore.prototype.step = async function (given) {
        if (given.objects !== undefined && given.objects.length > 0 && ++stored % 3 !== 0) await atStore();
        return await step.call(this, given);
    };
    for (const [at, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(tokens[at]!);
    let overtaken = 0;
    // The sequence is used again while it is being stored, as on any busy server.
    atStore = async () => {
        overtaken++;
        await Promise.all(sequences.map((sequence) => sequence.evaluateWithoutGeneratingNewTokens(moreTokens(1, overtaken))));
    };
    for (let waited = 0; overtaken < 12 && waited < 200; waited++) await settled(50);
    t.ok(overtaken >= 12, `${overtaken} attempts were overtaken`);
    atStore = () => Promise.resolve();
    const parks = () => events.filter(({type}) => type === "park").length, before = parks();
    for (let waited = 0; parks() < before + 2 && waited < 200; waited++) await settled(50);
    t.ok(parks() >= before + 2, "both are parked in the end");
    t.ok(await turns.bytes() <= budget);
    await isWell(t, turns);
    for (const sequence of sequences) await sequence.dispose();
    for (let waited = 0; await turns.bytes() > 0 && waited < 100; waited++) await settled(20);
    t.equal(await turns.bytes(), 0);
});

t.test("what a process left that ended while it parked is collected when parking needs the room", async (t) => {
    const {folder, context, parked, turns} = await open(t, {kvCache: "exact", park: 0.1, budget: 2e6});
    const lost = await LmdbStore.open(folder);
    await lost.step({objects: [["ab".repeat(16), new Uint8Array(2e6)]]});
    await lost.close();
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(1);
    t.ok(await turns.bytes() < 2e6, "of the parked rows alone");
});

t.test("a request finds room while its sequence is forked", async (t) => {
    const {store, context, parked} = await open(t, {kvCache: "exact", park: 60, policy: {pool: {limit: "3MB", pressure: {idle: 0, above: 1}}}});
    const [idle, sequence, copy] = [context.getSequence(), context.getSequence(), context.getSequence()];
    await idle.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(40, 3));
    const going = codeOf(sequence.evaluateWithoutGeneratingNewTokens(moreTokens(700, 2)));
    await store.fork(sequence, copy);
    t.equal(await going, "fulfilled");
    await parked(1);
});

t.test("a context that is garbage-collected frees its memory and leaves nothing in the store", (t) => {
    const child = spawnSync(process.execPath, [
        "--expose-gc", join(root, "test/fixtures/collected.mjs"), JSON.stringify({modelPath, folder: storeFolder(t), tokens: randomTokens(300, 1)})
    ], {encoding: "utf8", timeout: 60_000});
    t.strictSame(JSON.parse(child.stdout || child.stderr), {parked: true, native: false, objects: 0});
    t.end();
});

t.test("a store that can't be opened is warned of once and not tried again and again", async (t) => {
    const folder = storeFolder(t), policy: PolicyFile = {sharing: {automatic: false}, turns: {store: folder, park: 0.1}};
    const store = await attach(llama, {policy}), context = await model.createContext({contextSize: 512, threads: 1, kvCache: "high"}), sequence = context.getSequence();
    const turns = await store.openTurns({key: "0a".repeat(32)});
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt.slice(0, 10));
    await turns.save("c", sequence);
    await turns.close();
    let opened = 0;
    const opens = LmdbStore.open;
    LmdbStore.open = async function (path) {
        opened++;
        return await opens.call(this, path);
    };
    t.teardown(() => { LmdbStore.open = opens; });
    const warned = once(process, "warning");
    await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(100, 1));
    t.match(await warned, [{code: "DELTASTORE_STORE_KEY_WRONG"}]);
    await settled(800);
    t.equal(opened, 1);
    await context.dispose();
});

t.test("rows that can't be removed from the store are removed later", async (t) => {
    const {context, parked, turns} = await open(t, {kvCache: "exact"});
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(1);
    let failed = 0;
    LmdbStore.prototype.step = async function (given) {
        if (given.delete !== undefined && failed++ === 0) throw new Error("not now");
        return await step.call(this, given);
    };
    await sequence.clearHistory();
    for (let wait = 0; wait < 100 && (await turns.verify()).objects > 0; wait++) await settled(20);
    t.ok(failed >= 2);
    t.match(await turns.verify(), {conversations: 0, objects: 0});
    await isWell(t, turns);
});

t.test("parked rows are abandoned once the process that parked them has ended", (t) => {
    const now = Date.now(), week = 7 * 86_400_000, name = parkedName(), [, prefix, place, pid, start, id] = name.split("\0");
    const named = (...parts: unknown[]) => ["", prefix, ...parts, id].join("\0");
    t.equal(named(place, pid, start), name);
    t.equal(isAbandoned(name, now - 10 * week), false, "this process lives");
    t.equal(isAbandoned(named(place, 2 ** 22 + 1, start), now), true, "no process has that number");
    t.equal(isAbandoned(named(place, pid, Number(start) - 1), now), true, "another process had it");
    t.equal(isAbandoned(named("elsewhere", pid, start), now - week + 10_000), false);
    t.equal(isAbandoned(named("elsewhere", pid, start), now - week - 10_000), true);
    t.end();
});
