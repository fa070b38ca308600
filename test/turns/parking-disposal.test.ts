import {spawn} from "node:child_process";
import {once} from "node:events";
import {join} from "node:path";
import {MemoryStore} from "llama-deltastore";
import t from "tap";
import {codeOf, generate, moreTokens, randomTokens} from "../support/engine.js";
import {openParkingEngine, parkedPrompt} from "../support/parking.js";
import {root} from "../support/paths.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {modelPath, open} = await openParkingEngine(t);

t.test("a disposed parked sequence leaves nothing, and the next one of its number begins empty", async (t) => {
    const {context, parked, held, turns} = await open(t, {sequences: 2});
    const first = context.getSequence(), second = context.getSequence();
    for (const one of [first, second]) await one.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(2);
    t.strictSame(held(), []);
    t.match(await turns.verify(), {conversations: 2, problems: []});
    first.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 1, problems: []});
    const heir = context.getSequence();
    t.strictSame(heir.contextTokens, []);
    t.equal((await generate(heir, randomTokens(30, 3), 3)).length, 3);
    // A sequence is disposed while it comes back.
    const going = codeOf(second.evaluateWithoutGeneratingNewTokens(moreTokens(5, 1)));
    second.dispose();
    t.match(await going, /fulfilled|DISPOSED|disposed/i);
    await settled(100);
    t.strictSame(held(), [0]);
    await context.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
});

t.test("a parked sequence that is saved and disposed at once is saved", async (t) => {
    for (const end of ["sequence", "context"] as const) {
        const {context, store, parked} = await open(t, {kvCache: "high"}), sequence = context.getSequence(), kept = await store.openTurns({store: new MemoryStore()});
        await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
        await parked(1);
        const saving = kept.save("chat", sequence), ended = (end === "sequence" ? sequence : context).dispose();
        t.match(await saving, {tokens: parkedPrompt.length}, end);
        await ended;
        await kept.close();
    }
});

t.test("a disposed context leaves nothing in the store", async (t) => {
    const {context, parked, turns} = await open(t), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(1);
    t.equal(sequence.nextTokenIndex, parkedPrompt.length);
    await context.dispose();
    await settled(100);
    t.match(await turns.verify(), {conversations: 0, objects: 0, problems: []});
});

t.test("rows that ended processes have parked are collected, and those of running ones are not", async (t) => {
    const {folder, context, parked, turns} = await open(t), sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(parkedPrompt);
    await parked(1);
    const child = spawn(process.execPath, [join(root, "test/fixtures/parks.mjs"), JSON.stringify({modelPath, folder, tokens: randomTokens(300, 8)})], {
        stdio: ["ignore", "pipe", "inherit"]
    });
    for await (const text of child.stdout) if (String(text).includes("park")) break;
    t.match(await turns.collectGarbage(), {conversations: 0});
    t.match(await turns.verify(), {conversations: 2, problems: []});
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
    t.match(await turns.collectGarbage(), {conversations: 1});
    t.match(await turns.verify(), {conversations: 1, problems: []});
    // The sequence is used down here: a collected one would have taken along what it parked.
    t.equal(sequence.contextTokens.length, parkedPrompt.length);
});
