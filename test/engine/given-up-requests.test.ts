import {attach} from "llama-deltastore";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {collectGarbage} from "../support/garbage.js";
import {divergence, nextLogits, sameLogits} from "../support/logits.js";
import {openShortLives} from "../support/short-lives.js";
import {settled} from "../support/waiting.js";

t.setTimeout(180_000);

const {llama, createContext} = await openShortLives(t);

t.test("a sequence that nobody holds gives its number back", async (t) => {
    const context = await createContext("high", {sequences: 1});
    await (async () => await context.getSequence().evaluateWithoutGeneratingNewTokens(randomTokens(100, 1)))();
    for (let waited = 0; context.sequencesLeft === 0 && waited < 100; waited++) {
        collectGarbage();
        await settled(20);
    }
    const next = context.getSequence(), fresh = await createContext("high");
    sameLogits(t, [await nextLogits(next, randomTokens(50, 2))], [await nextLogits(fresh.getSequence(), randomTokens(50, 2))]);
    for (const one of [context, fresh]) await one.dispose();
});

t.test("a request that is given up costs nobody else anything", async (t) => {
    for (const policy of [{}, {sharing: {automatic: false}}]) {
        const shared = await attach(llama, {policy}), begin = randomTokens(300, 20), alone = await createContext("exact");
        const expected = await nextLogits(alone.getSequence(), randomTokens(90, 22));
        await alone.dispose();
        const context = await createContext("exact", {sequences: 3}), outcomes = new Set<string>();
        for (let round = 0; round < 24; round++) {
            const [talking, given] = [context.getSequence(), context.getSequence()];
            const answer = codeOf((async () => {
                let count = 0;
                for await (const _ of talking.evaluate([...begin, ...moreTokens(round, 30)], {yieldEogToken: true})) if (++count === 40) break;
            })());
            await settled(round % 5);
            const going = codeOf(given.evaluateWithoutGeneratingNewTokens([...begin, ...moreTokens(200, 40 + round)]));
            await settled(round % 4);
            await given.dispose();
            const next = context.getSequence();
            const found = divergence(expected, await nextLogits(next, randomTokens(90, 22)));  // a batch with other sequences rounds otherwise
            t.ok(found < 1e-4, `the next request: ${found}`);
            outcomes.add(await going);
            t.equal(await answer, "fulfilled");
            await Promise.all([talking.dispose(), next.dispose()]);
        }
        t.ok([...outcomes].every((code) => ["fulfilled", "Object is disposed"].includes(code)), [...outcomes].join());
        t.ok(outcomes.has("Object is disposed"), "some were given up");
        await context.dispose();
        shared.dispose();
    }
});

t.test("a prompt that is given up is shared with no other group", async (t) => {
    const tenants = await attach(llama, {policy: {sharing: {scope: "group", kept: 0}}}), attached: number[] = [];
    tenants.onEvent.createListener((event) => {
        if (event.type === "attach") attached.push(event.tokens);
    });
    const context = await createContext("exact", {sequences: 4});
    for (let round = 0; round < 24; round++) {
        const secret = randomTokens(300, 100 + round), talking = context.getSequence({sharingGroup: "a"});
        const answer = (async () => {
            let count = 0;
            for await (const _ of talking.evaluate(randomTokens(20, 60), {yieldEogToken: true})) if (++count === 30) break;
        })();
        await settled(2);
        const given = context.getSequence({sharingGroup: "b"}), going = codeOf(given.evaluateWithoutGeneratingNewTokens(secret));
        await settled(round % 4);
        await given.dispose();
        const [first, second] = [context.getSequence({sharingGroup: "c"}), context.getSequence({sharingGroup: "c"})];
        await second.evaluateWithoutGeneratingNewTokens([...secret, ...moreTokens(40, 61)]);
        await Promise.all([going, answer]);
        await Promise.all([talking, first, second].map((one) => one.dispose()));
    }
    t.strictSame(attached, []);
    await context.dispose();
});
