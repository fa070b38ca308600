import {DeltaStoreError, type Turn} from "llama-deltastore";
import t from "tap";
import {moreTokens, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {evicting, keys, startServer, warningsOf} from "../support/redis-eviction.js";
import {between} from "../support/redis-proxy.js";
import {noRedis} from "../support/redis-server.js";
import {openRedisTurns, whole} from "../support/redis-turns.js";
import {isWell} from "../support/turns.js";
import {randomFrom} from "./store-oracle.js";
import {failed} from "./store-places.js";

t.setTimeout(240_000);

const {openContext, openTurns} = await openRedisTurns(t);

t.test("of fifty turns on a server that is too small, each that is reported as saved can be restored, at once and later", {skip: noRedis}, async (t) => {
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

t.test("when another client fills the server, no lost turn is reported as saved, and with memory it is saved again", {skip: noRedis}, async (t) => {
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

t.test("a turn that is reported as saved can be restored, whatever is dropped between two commands", {skip: noRedis}, async (t) => {
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
