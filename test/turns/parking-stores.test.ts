import {spawn} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {attach, LmdbStore} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, moreTokens, randomTokens} from "../support/engine.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {openParkingEngine, parkedPrompt} from "../support/parking.js";
import {root} from "../support/paths.js";
import {noRedis, startRedis} from "../support/redis-server.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {llama, model, modelPath, open} = await openParkingEngine(t);

t.test("a store that fails parks no sequence and disturbs none", async (t) => {
    const broken = await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: join(root, "package.json", "no-folder"), park: 0.1}}});
    const other = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"}), sequence = other.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await settled(500);
    t.match(broken.stats(other).sequences, [{tokens: 400}]);
    t.equal((await generate(sequence, moreTokens(5, 1), 3)).length, 3);
    await other.dispose();
});

t.test("a sequence that changes while it is being stored is parked as it is afterwards", async (t) => {
    const {context, twins, events, parked} = await open(t, {kvCache: "exact"}), step = LmdbStore.prototype.step;
    const [sequence, twin] = [context, twins].map((one) => one.getSequence()) as [LlamaContextSequence, LlamaContextSequence];
    for (const one of [sequence, twin]) await nextLogits(one, parkedPrompt);
    let changed = 0;
    LmdbStore.prototype.step = async function (given) {
        if (given.put !== undefined && changed++ === 0) await sequence.eraseContextTokenRanges([{start: 350, end: 400}]);
        return await step.call(this, given);
    };
    t.teardown(() => { LmdbStore.prototype.step = step; });
    await twin.eraseContextTokenRanges([{start: 350, end: 400}]);
    await parked(1);
    t.ok(changed > 1, "the first was in vain");
    t.match(events.filter(({type}) => type === "park"), [{tokens: 350}]);
    sameLogits(t, await goOn(sequence, 1), await goOn(twin, 1));

    // An erasure that waited for the same gap changes these fields.
    await parked(1);
    const internals = sequence as unknown as {_contextTokens: number[]; _nextTokenIndex: number}, left = sequence.nextTokenIndex - 30;
    internals._contextTokens = internals._contextTokens.slice(0, left);
    internals._nextTokenIndex = left;
    await twin.eraseContextTokenRanges([{start: left, end: left + 30}]);
    sameLogits(t, await goOn(sequence, 5), await goOn(twin, 5));
});

t.test("a store that does not answer for a while loses no rows", {skip: noRedis}, async (t) => {
    const redis = await startRedis();
    t.teardown(() => redis.stop());
    const store = await attach(llama, {policy: {sharing: {automatic: false}, turns: {store: redis.url, park: 0.2}}});
    const options = {contextSize: 1024, sequences: 2, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"};
    const context = await model.createContext(options), [sequence, other] = [context.getSequence(), context.getSequence()];
    await attach(llama, {policy: {sharing: {automatic: false}}});
    const twin = (await model.createContext(options)).getSequence();
    for (const one of [sequence, twin]) await nextLogits(one, parkedPrompt);
    const isParked = () => store.stats(context).sequences.length === 0;
    for (let waited = 0; waited < 5000 && !isParked(); waited += 20) await settled(20);
    t.ok(isParked());
    redis.signal("SIGSTOP");
    t.equal(await codeOf(store.fork(sequence, other)), "STORE_FAILED");
    t.equal(sequence.nextTokenIndex, 400);
    redis.signal("SIGCONT");
    sameLogits(t, await goOn(sequence, 1), await goOn(twin, 1));
    for (const one of [context, twin.context]) await one.dispose();

    const child = spawn(process.execPath, [join(root, "test/fixtures/parks.mjs"), JSON.stringify({modelPath, folder: redis.url, tokens: randomTokens(300, 8), ends: true})], {
        stdio: ["ignore", "pipe", "inherit"]
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    t.strictSame(await once(child, "close"), [0, null], "and a process that parked ends");
    clearTimeout(timer);
});
