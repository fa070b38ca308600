import {MemoryStore, type Turn} from "llama-deltastore";
import type {Token} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {divergence, nextLogits} from "../support/logits.js";
import {openTurnsEngine, prompt} from "../support/turns-engine.js";
import {isWell} from "../support/turns.js";

t.setTimeout(240_000);

const {store, createContext} = await openTurnsEngine(t);

t.test("a turn that is saved while its sequence generates holds the tokens that it says", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext("conservative");
    const sequence = context.getSequence(), target = context.getSequence();
    const iterator = sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true}), generated: Token[] = [], saves: Promise<Turn>[] = [];
    for await (const token of iterator) {
        generated.push(token);
        if (generated.length % 15 === 0) saves.push(turns.save("c", sequence));  // generation goes on meanwhile
        if (generated.length === 150) break;
    }
    const text = [...prompt, ...generated];
    for (const {id, tokens} of await Promise.all(saves)) {
        await turns.restore("c", target, {turn: id});
        t.equal(target.nextTokenIndex, tokens);
        t.strictSame(target.contextTokens, text.slice(0, tokens));
    }
    t.match(await turns.restore("c", target), {evaluated: 0});
    const twin = context.getSequence();
    await twin.evaluateWithoutGeneratingNewTokens(target.contextTokens);
    const [found, expected] = [await nextLogits(target, moreTokens(5, 3)), await nextLogits(twin, moreTokens(5, 3))];
    t.ok(divergence(expected, found) < 0.5, `${divergence(expected, found)} nats`);
    await isWell(t, turns);
    await context.dispose();
});

t.test("a turn that is saved while a prompt is evaluated has none of the prompt", async (t) => {
    for (const tier of ["exact", "high", "evicting"]) {
        const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext(tier);
        const [sequence, target, twin] = [context.getSequence(), context.getSequence(), context.getSequence()], before = randomTokens(150, 4);
        for (const one of [sequence, twin]) await one.evaluateWithoutGeneratingNewTokens(before);
        const evaluating = sequence.evaluateWithoutGeneratingNewTokens(moreTokens(800, 5)), saves: Promise<Turn>[] = [];
        for (let turn = 0; sequence.nextTokenIndex === before.length && turn < 1000; turn++) {
            if (turn % 5 === 0) saves.push(turns.save("c", sequence));
            await new Promise(setImmediate);
        }
        await evaluating;
        const lengths = (await Promise.all(saves)).map(({tokens}) => tokens), expected = await nextLogits(twin, moreTokens(5, 6));
        t.ok(lengths.filter((tokens) => tokens === before.length).length > 1, `${lengths}`);
        for (const {id, tokens} of await turns.history("c")) {
            await turns.restore("c", target, {turn: id});
            t.strictSame(target.contextTokens, sequence.contextTokens.slice(0, tokens));
            if (tokens !== before.length) continue;
            const near = divergence(expected, await nextLogits(target, moreTokens(5, 6)));
            t.ok(near < {exact: 1e-6, high: 0.1, evicting: 0.5}[tier]!, `${tier}: ${near} nats`);
        }
        await isWell(t, turns);
        await context.dispose();
    }
});

t.test("an evaluation under way ends when its sequence is restored, and none comes between", async (t) => {
    const turns = await store.openTurns({store: new MemoryStore()}), context = await createContext();
    const source = context.getSequence(), target = context.getSequence();
    await source.evaluateWithoutGeneratingNewTokens(prompt);
    const first = await turns.save("c", source);
    await source.evaluateWithoutGeneratingNewTokens(moreTokens(20, 1));
    await turns.save("c", source);

    const iterator = target.evaluate(moreTokens(20, 2), {temperature: 0, yieldEogToken: true});
    await iterator.next();
    await turns.restore("c", target);
    t.equal(await codeOf(iterator.next()), "OPTION_INVALID");
    t.strictSame(target.contextTokens, source.contextTokens);

    // The older turn's last tokens are evaluated again.
    await Promise.all([turns.restore("c", target, {turn: first.id}), turns.restore("c", target, {turn: first.id}), turns.restore("c", target, {turn: first.id})]);
    t.strictSame(target.contextTokens, prompt);
    const restoring = turns.restore("c", target, {turn: first.id}), question = moreTokens(5, 4);
    while (target.nextTokenIndex === prompt.length) await new Promise(setImmediate);
    await Promise.all([restoring, target.evaluateWithoutGeneratingNewTokens(question)]);
    t.strictSame(target.contextTokens, [...prompt, ...question]);
    await context.dispose();
});
