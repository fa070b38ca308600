import type {FreezeOptions, SnapshotStore, Step} from "llama-deltastore";
import t, {type Test} from "tap";
import {evaluated, openCold} from "../support/cold.js";
import {codeOf, generate, moreTokens, randomTokens} from "../support/engine.js";
import {goOn, sameLogits} from "../support/logits.js";
import {prompt} from "../support/turns-engine.js";
import {inventoryOf, isWell, wrapped} from "../support/turns.js";

// Whatever happens to a conversation while it is frozen, nothing of it is lost.
t.setTimeout(240_000);

const {createContext, openTurns, taughtStore} = await openCold(t);
const context = await createContext(), [source, target, other] = [context.getSequence(), context.getSequence(), context.getSequence()];
const codecs: FreezeOptions[] = [{codec: "tokens"}, {codec: "transform", ratio: 8}];

/** Turns with a conversation "c", where something else is done once, just before a step that freezing makes. */
async function interrupted(t: Test, at: (step: Step) => boolean) {
    const memory = await taughtStore(), quiet = await openTurns(t, memory);
    let meanwhile: (() => Promise<unknown>) | null = null;
    const store: SnapshotStore = wrapped(memory, {
        async step(step) {
            const now = meanwhile;
            if (now !== null && at(step)) {
                meanwhile = null;
                await now();
            }
            return await memory.step(step);
        }
    });
    const turns = await openTurns(t, store);
    await source.clearHistory();
    await evaluated(quiet, "c", source, prompt);
    const freeze = async (options: FreezeOptions, work: () => Promise<unknown>) => {
        meanwhile = work;
        return await turns.freeze("c", options);
    };
    return {memory, quiet, freeze};
}

const isLast = ({put}: Step): boolean => put?.some(([key]) => key.startsWith("conversation:")) ?? false;

for (const options of codecs) {
    t.test(`${options.codec}: a turn that is saved meanwhile stays, and is frozen with the others`, async (t) => {
        const {quiet, freeze} = await interrupted(t, isLast);
        t.match(await freeze(options, async () => await evaluated(quiet, "c", source, moreTokens(40, 2))), {turns: 2});
        t.match(await quiet.history("c"), [{tokens: 500, codec: options.codec}, {tokens: 540, codec: options.codec}]);
        t.match(await quiet.restore("c", target), {turn: {tokens: 540}, codec: options.codec, damaged: []});
        t.strictSame(target.contextTokens, source.contextTokens);
        await isWell(t, quiet);
    });

    t.test(`${options.codec}: a restore that reads while rows are replaced finds the new ones`, async (t) => {
        const memory = await taughtStore(), quiet = await openTurns(t, memory);
        await source.clearHistory();
        await evaluated(quiet, "c", source, prompt);
        let reads = 0, frozen: Promise<unknown> | undefined;
        const slow = await openTurns(t, wrapped(memory, {
            async objects(names) {
                if (++reads > 1) await (frozen ??= quiet.freeze("c", options));  // the record was read
                return await memory.objects(names);
            }
        }));
        const restoring = slow.restore("c", target);
        t.match(await restoring, {codec: options.codec, turn: {tokens: 500}, damaged: []});
        await isWell(t, quiet);
    });

    t.test(`${options.codec}: a conversation that is deleted meanwhile is gone`, async (t) => {
        const {memory, quiet, freeze} = await interrupted(t, isLast);
        t.equal(await codeOf(freeze(options, async () => await quiet.delete("c"))), "TURN_NOT_FOUND");
        for await (const {holders} of memory.inventory()) t.ok(holders > 0);
        await isWell(t, quiet);
    });

    t.test(`${options.codec}: what is swept meanwhile is brought again`, async (t) => {
        const {quiet, freeze} = await interrupted(t, isLast);
        t.match(await freeze(options, async () => await quiet.collectGarbage()), {turns: 1});
        t.match(await quiet.restore("c", target), {codec: options.codec, turn: {tokens: 500}, damaged: []});
        await isWell(t, quiet);
    });

    t.test(`${options.codec}: two that freeze at once do it once`, async (t) => {
        const {quiet, freeze} = await interrupted(t, isLast);
        t.match(await freeze(options, async () => await quiet.freeze("c", options)), {turns: 0});
        t.match(await quiet.restore("c", target), {codec: options.codec, damaged: []});
        await isWell(t, quiet);
    });
}

t.test("a store that fails leaves all as it was, and nothing else", async (t) => {
    const {memory, quiet, freeze} = await interrupted(t, isLast), before = await quiet.history("c");
    const inventory = await inventoryOf(memory);
    t.equal(await codeOf(freeze({codec: "transform", ratio: 8}, async () => await Promise.reject(Object.assign(new Error("no connection"), {code: "STORE_FAILED"})))), "STORE_FAILED");
    t.strictSame(await quiet.history("c"), before);
    t.strictSame(await inventoryOf(memory), inventory);
});

t.test("closing ends what is under way", async (t) => {
    const memory = await taughtStore(), quiet = await openTurns(t, memory), turns = await openTurns(t, wrapped(memory, {close: async () => undefined}));
    await source.clearHistory();
    await evaluated(quiet, "c", source, prompt);
    const freezing = codeOf(turns.freeze("c", {codec: "transform", ratio: 8}));
    await new Promise(setImmediate);
    await turns.close();
    t.equal(await freezing, "DISPOSED");
    t.match(await quiet.restore("c", target), {codec: "packed", evaluated: 0, damaged: []});
    await quiet.collectGarbage();
    await isWell(t, quiet);
});

t.test("a chat that goes on beside it is not disturbed", async (t) => {
    const turns = await openTurns(t, await taughtStore());
    for (const one of [source, target, other]) await one.clearHistory();
    await evaluated(turns, "c", source, prompt);
    let frozen = false;
    const freezing = turns.freeze("c", {codec: "transform", ratio: 8}).finally(() => frozen = true);
    await evaluated(turns, "d", target, randomTokens(200, 4));
    let tokens = 0;
    while (!frozen) tokens += (await generate(target, moreTokens(1, tokens), 1)).length;
    t.match(await freezing, {turns: 1});
    await turns.restore("c", source);
    await turns.restore("c", other);
    sameLogits(t, await goOn(source, 5), await goOn(other, 5));
    await isWell(t, turns);
});
