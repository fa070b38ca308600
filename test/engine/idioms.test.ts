import {randomUUID} from "node:crypto";
import {join} from "node:path";
import {attach} from "llama-deltastore";
import type {LlamaContext} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, randomTokens} from "../support/engine.js";
import {openShortLives} from "../support/short-lives.js";
import {settled} from "../support/waiting.js";

t.setTimeout(180_000);

const {llama, folder, createContext} = await openShortLives(t);

/** Each is run on the stock cache, too: its outcome is the right one. */
const idioms: Record<string, (context: LlamaContext) => Promise<unknown>> = {
    "a sequence is disposed of without waiting, and the next one asked for": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20, 1));
        void sequence.dispose();
        const left = context.sequencesLeft, next = context.getSequence();
        await next.evaluateWithoutGeneratingNewTokens(randomTokens(30, 2));
        return [left, next.nextTokenIndex, next.contextTokens.length];
    },
    "each request has a sequence by `using`": async (context) => {
        const lengths: number[] = [];
        for (let request = 0; request < 3; request++) {
            const sequence = context.getSequence();
            await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20 + request, request));
            lengths.push(sequence.nextTokenIndex);
            sequence[Symbol.dispose]();
        }
        return lengths;
    },
    "an erased sequence is asked for its length": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(40, 1));
        const erasing = sequence.eraseContextTokenRanges([{start: 4, end: 7}, {start: 30, end: 40}]), atOnce = [sequence.nextTokenIndex, sequence.contextTokens.length];
        await erasing;
        const clearing = sequence.clearHistory(), cleared = sequence.nextTokenIndex;
        await clearing;
        return [atOnce, cleared, sequence.nextTokenIndex];
    },
    "a sequence is disposed of in the middle of an answer": async (context) => {
        const sequence = context.getSequence();
        let count = 0;
        const code = await codeOf((async () => {
            for await (const _ of sequence.evaluate(randomTokens(20, 1), {yieldEogToken: true})) if (++count === 3) await sequence.dispose();
        })());
        return [code, count, context.sequencesLeft, sequence.disposed];
    },
    "a number can be had once what was given up has settled": async (context) => {
        const sequences = [context.getSequence(), context.getSequence()];
        const going = sequences.map((sequence, at) => codeOf(sequence.evaluateWithoutGeneratingNewTokens(randomTokens(300, at))));
        await settled(2);
        const ended = sequences.map((sequence) => sequence.dispose());
        await Promise.all(going);
        const left = context.sequencesLeft, next = context.getSequence();
        await Promise.all(ended);
        return [left, next.nextTokenIndex];
    },
    "a sequence is cleared and disposed of while another is evaluated": async (context) => {
        const [sequence, other] = [context.getSequence(), context.getSequence()];
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(40, 1));
        const busy = codeOf(other.evaluateWithoutGeneratingNewTokens(randomTokens(600, 2)));
        await settled(3);
        const codes = [codeOf(sequence.clearHistory()), codeOf(sequence.eraseContextTokenRanges([{start: 3, end: 5}])), codeOf(sequence.dispose())];
        return await Promise.all([...codes, busy]);
    },
    "a state file is loaded, and more is evaluated at once": async (context) => {
        const sequence = context.getSequence(), file = join(folder, `${randomUUID()}.state`);
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(140, 1));
        await sequence.saveStateToFile(file);
        const loading = sequence.loadStateFromFile(file, {acceptRisk: true});
        await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(20, 2));
        await loading;
        return sequence.nextTokenIndex;
    },
    "a disposed sequence is asked for more": async (context) => {
        const sequence = context.getSequence();
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(20, 1));
        await sequence.dispose();
        return await Promise.all([
            codeOf(sequence.evaluateWithoutGeneratingNewTokens(randomTokens(5, 2))), codeOf(sequence.clearHistory()),
            codeOf(sequence.saveStateToFile(join(folder, "gone.state"))), codeOf(sequence.dispose())
        ]);
    },
    "all are taken, given back in another order and taken again": async (context) => {
        const all = Array.from({length: 2}, () => context.getSequence()), taken = await codeOf((async () => context.getSequence())());
        for (const sequence of [...all].reverse()) void sequence.dispose();
        await settled(5);
        return [taken, context.sequencesLeft, [context.getSequence(), context.getSequence()].map(({nextTokenIndex}) => nextTokenIndex)];
    },
    "a context is disposed of in the middle of an answer": async (context) => {
        const sequence = context.getSequence();
        const code = await codeOf((async () => {
            for await (const _ of sequence.evaluate(randomTokens(20, 1), {yieldEogToken: true})) void context.dispose();
        })());
        return [code, sequence.disposed];
    }
};

for (const [name, idiom] of Object.entries(idioms)) {
    t.test(`${name}: it ends as on the stock cache`, async (t) => {
        const outcomes: Record<string, unknown> = {};
        for (const kvCache of ["stock", "exact", "high", "evicting"]) {
            const policy = kvCache === "evicting" ? {tiers: {evicting: {format: "k4v2" as const, evict: {keep: 0.6, slack: 128}}}} : {};
            await attach(llama, {policy});
            const context = await createContext(kvCache, {sequences: 2});
            outcomes[kvCache] = await idiom(context);
            await context.dispose();
        }
        const {stock, ...ours} = outcomes;
        for (const [kvCache, outcome] of Object.entries(ours)) t.strictSame(outcome, stock, kvCache);
    });
}
