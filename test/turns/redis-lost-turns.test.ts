import {RedisStore} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {someKeys, startServer, type Key} from "../support/redis-eviction.js";
import {noRedis} from "../support/redis-server.js";
import {openRedisTurns, whole} from "../support/redis-turns.js";
import {isWell} from "../support/turns.js";

t.setTimeout(240_000);

const {openContext, openTurns} = await openRedisTurns(t);

for (const gone of someKeys) {
    const lost = (key: Key) => gone.includes(key), isKept = !lost("entries") && !lost("objects");
    t.test(`after ${gone.join(", ")} were dropped, two conversations that share blocks are saved again`, {skip: noRedis}, async (t) => {
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

        // A deleted conversation takes nothing along that another holds.
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

t.test("opening turns counts the objects anew that a store has lost count of", {skip: noRedis}, async (t) => {
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

    // Nothing is counted while an entry can't be read: what it holds is unknown.
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
