import {DeltaStoreError} from "llama-deltastore";
import type {LlamaContextSequence} from "node-llama-cpp";
import t from "tap";
import {codeOf, generate, randomTokens} from "../support/engine.js";
import {openPolicies} from "../support/policies.js";

t.setTimeout(120_000);

const {open} = await openPolicies(t);

/** Holds some ten sequences. Freed pages go back to the system by slabs of half a MiB, so a pool of a few slabs could give nothing up. */
const limit = 8 * 2 ** 20;

/** Fills a context with sequences until one is refused. */
async function fill(pressure: object | undefined, kvCache?: string) {
    const opened = await open({default: "high", pool: {limit, ...pressure === undefined ? {} : {pressure: pressure as {tiers: string[]}}}});
    const sequences: LlamaContextSequence[] = [];
    let refused: DeltaStoreError | undefined;
    while (sequences.length < 64 && refused === undefined) {
        const sequence = opened.context.getSequence(kvCache === undefined ? {} : {kvCache} as object);
        await generate(sequence, randomTokens(900, sequences.length), 1).then(() => sequences.push(sequence), (error: unknown) => {
            refused = error as DeltaStoreError;
        });
        if (opened.store.stats(opened.context).peakResidentBytes > limit) throw new Error("more than the limit was held");
    }
    return {...opened, sequences, refused};
}

t.test("idle sequences are degraded before a request is refused", async (t) => {
    const plain = await fill(undefined), pressed = await fill({tiers: ["compact", "ultra"], idle: 0});
    t.equal(plain.refused?.code, "POOL_LIMIT_REACHED");
    t.ok(pressed.sequences.length > plain.sequences.length, `${pressed.sequences.length} instead of ${plain.sequences.length}`);
    const changes = pressed.events.filter((event) => event.type === "tier");
    t.ok(changes.every(({reason}) => reason === "pressure"));
    t.strictSame(changes.slice(0, 2).map(({sequenceId, tier}) => [sequenceId, tier]), [[0, "compact"], [0, "ultra"]], "the longest idle one first");
    t.equal(pressed.refused?.code, "POOL_LIMIT_REACHED");
    t.match(pressed.events.filter(({type}) => type === "refuse"), [{sequenceId: pressed.sequences.length}]);
    const [first] = pressed.sequences as [LlamaContextSequence];
    t.equal((await generate(first, randomTokens(5, 20).slice(1), 5)).length, 5, "it goes on with what it has");
    await first.clearHistory();
    t.equal(pressed.tierOf(first), "high");
    const chosen = await fill({tiers: ["ultra"], idle: 0}, "high");
    t.equal(chosen.events.filter(({type}) => type === "tier").length, 0, "what the app chose is a promise");
    t.equal(chosen.sequences.length, plain.sequences.length);
    const busy = await fill({tiers: ["ultra"], idle: 3600});
    t.equal(busy.sequences.length, plain.sequences.length, "none is idle");
    for (const {context} of [plain, pressed, chosen, busy]) await context.dispose();
});

t.test("what is given up first is the window of an idle sequence", async (t) => {
    const {store, context, events} = await open({pool: {limit, pressure: {idle: 0, above: 0}}});
    const idle = context.getSequence(), other = context.getSequence(), chosen = context.getSequence({kvCache: "high"});
    const bytesOf = (id: number) => store.stats(context).sequences.find((sequence) => sequence.id === id)!.residentBytes;
    for (const sequence of [idle, chosen]) await generate(sequence, randomTokens(300, 1), 1);
    await generate(other, randomTokens(20, 2), 2);
    t.ok(bytesOf(0) < bytesOf(2), `${bytesOf(0)} instead of ${bytesOf(2)}: what the app chose is a promise`);
    t.equal(store.tierOf(idle), "high");
    t.strictSame(events, []);
    t.equal((await generate(idle, randomTokens(100, 3).slice(1), 3)).length, 3);
    await context.dispose();
});

t.test("pressure begins at its share of the limit, before requests are refused", async (t) => {
    const early = await fill({tiers: ["conservative", "ultra"], idle: 0, above: 0.5});
    const {sequenceId, tier} = early.events.find((event) => event.type === "tier")!;
    t.strictSame([sequenceId, tier], [0, "conservative"]);
    const evictions = early.events.filter((event) => event.type === "evict");
    t.ok(evictions.length > 0 && evictions.every(({kept}) => kept < 0.5));
    await early.context.dispose();
});

t.test("what a request needs is given up, and no more", async (t) => {
    const openIdle = async () => {
        const opened = await open({pool: {limit, pressure: {tiers: ["ultra"], idle: 0}}}, {contextSize: 10_000, sequences: 8});
        const idle = Array.from({length: 5}, () => opened.context.getSequence());
        for (const [index, sequence] of idle.entries()) await generate(sequence, randomTokens(900, index), 1);
        return {...opened, idle, more: opened.context.getSequence()};
    };
    const hopeless = await openIdle();
    t.equal(await codeOf(generate(hopeless.more, randomTokens(9700, 5), 1)), "POOL_LIMIT_REACHED");
    t.strictSame(hopeless.idle.map(hopeless.tierOf), hopeless.idle.map(() => "high"), "a request that can't be served costs the others nothing");
    t.equal(hopeless.more.nextTokenIndex, 0);

    // Several logits, as drafts and controlledEvaluate ask for them. Rows that were evaluated stay while room is made.
    const several = randomTokens(5500, 6);
    const metered = () => hopeless.more.tokenMeter.usedInputTokens, before = metered();
    const results = await hopeless.more.controlledEvaluate(several.map((token, index) => index >= 5490 ? [token, {generateNext: {token: true}}] : token));
    t.equal(results.filter((result) => result?.next.token !== undefined).length, 10);
    t.ok(hopeless.idle.map(hopeless.tierOf).includes("ultra"));
    const evaluated = metered() - before;
    t.ok(evaluated < 5500 + 4 * 256, `${evaluated} tokens were evaluated`);
    await hopeless.more.clearHistory();
    const expected = await hopeless.more.controlledEvaluate(several.map((token, index) => index >= 5490 ? [token, {generateNext: {token: true}}] : token));
    const tokensOf = (all: typeof results) => all.map((result) => result?.next.token);
    t.strictSame(tokensOf(results), tokensOf(expected));
    await hopeless.context.dispose();
});

t.test("an empty sequence keeps its first tier under pressure, and one from a file or a fork counts as idle", async (t) => {
    const {store, context, tierOf, events} = await open({pool: {limit, pressure: {tiers: ["ultra"], idle: 0}}}, {contextSize: 2048});
    const [first, copy, loaded, busy] = [context.getSequence(), context.getSequence(), context.getSequence(), context.getSequence()];
    await generate(first, randomTokens(900, 1), 1);
    const path = `${t.testdir()}/state.bin`;
    await first.saveStateToFile(path);
    await loaded.loadStateFromFile(path, {acceptRisk: true});
    await store.fork(first, copy);
    await store.setTier(first, "high");  // what the app chose stays
    let refused = 0;
    const more = [];  // what nobody holds is collected
    for (let i = 0; i < 50 && refused === 0; i++) {
        more.push(context.getSequence());
        refused += await codeOf(generate(more[i]!, randomTokens(1300, 10 + i), 1)) === "fulfilled" ? 0 : 1;
    }
    t.equal(refused, 1);
    t.equal(more.at(-1)!.nextTokenIndex, 0);
    t.equal(tierOf(first), "high");
    t.equal(tierOf(loaded), "ultra");
    const held = new Set(store.stats(context).sequences.map(({id}) => id));
    t.ok(events.every((event) => event.type !== "tier" || held.has(event.sequenceId)), "none that holds nothing was pressed");

    await copy.clearHistory();
    const generating = generate(busy, randomTokens(10, 2), 20);
    const setting = store.setTier(loaded, "compact"), clearing = loaded.clearHistory();
    await Promise.all([setting, clearing, generating]);
    t.equal(tierOf(loaded), "compact", "a sequence that is cleared is not disposed");
    await context.dispose();
});

t.test("many requests at once under pressure are served or refused, and the limit holds", async (t) => {
    const {store, context, events} = await open({pool: {limit, pressure: {tiers: ["ultra"], idle: 0, above: 0.8}}, sharing: {automatic: true}});
    const sequences = Array.from({length: 24}, () => context.getSequence());
    for (let round = 0; round < 3; round++) {
        const outcomes: string[] = [];
        const ask = async (sequence: LlamaContextSequence, index: number) => {
            const tokens = sequence.nextTokenIndex === 0 ? randomTokens(330, 100 * round + index) : randomTokens(331, 100 * round + index).slice(1);
            outcomes.push(await codeOf(generate(sequence, tokens, 3)));
        };
        for (let first = 0; first < 24; first += 4)
            await Promise.all(sequences.slice(first, first + 4).map((sequence, index) => ask(sequence, first + index)));
        t.ok(outcomes.every((code) => code === "fulfilled" || code === "POOL_LIMIT_REACHED"), `${outcomes}`);
        t.ok(store.stats(context).peakResidentBytes <= limit);
        t.ok(outcomes.filter((code) => code === "fulfilled").length >= (round < 2 ? 16 : 1), `${outcomes}`);
        t.equal(events.filter(({type}) => type === "refuse").length, outcomes.filter((code) => code !== "fulfilled").length);
        events.length = 0;
    }
    await context.dispose();
});
