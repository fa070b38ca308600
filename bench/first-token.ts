/**
 * Time until a long prompt's first token comes, with each cache and with a prefix that another sequence holds: `npm run bench:first-token --
 * [--model NAME|FILE] [--tokens 4096] [--rounds 5] [--threads N] [--what caches,sharing] [--out FILE]`. Each is measured once a round, one after the
 * other. Without both kinds, FILE has to be named.
 */
import {readFileSync, writeFileSync} from "node:fs";
import {availableParallelism} from "node:os";
import path from "node:path";
import {parseArgs} from "node:util";
import type {LlamaContext, LlamaContextSequence, LlamaModel, Token} from "node-llama-cpp";
import {evictingTiers, reference, tiers, type BenchCache} from "./caches.js";
import {firstTokenTables, type FirstTokenReport} from "./first-token-report.js";
import {batchSize} from "./support/bench-model.js";
import {chosenModel, modelOption, resultsFile} from "./support/model-option.js";
import {root} from "./support/package.js";
import {Runtime} from "./support/runtime.js";
import {timed} from "./support/token-times.js";

/** Sequences of the context: three users, and the target of a fork. */
const sharedBy = 4, sharingTier = "conservative";
/** Tokens of a user's own, behind the shared ones. */
const ownTokens = [32, 512];

const {values} = parseArgs({options: {
    ...modelOption, tokens: {type: "string", default: "4096"}, rounds: {type: "string", default: "5"}, threads: {type: "string"},
    what: {type: "string", default: "caches,sharing"}, out: {type: "string"}
}});
const tokens = Number(values.tokens), rounds = Number(values.rounds), threads = Number(values.threads ?? availableParallelism());
const modelPath = () => chosenModel(values.model);
const text = readFileSync(path.join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8");

const firstToken = (sequence: LlamaContextSequence, prompt: Token[]) => timed(() => sequence.evaluate(prompt, {temperature: 0}).next());

function createContext(model: LlamaModel, options: object, sequences: number): Promise<LlamaContext> {
    return model.createContext({contextSize: tokens + 64, sequences, batchSize, threads, ...options});
}

async function measureCaches(caches: BenchCache[]): Promise<FirstTokenReport["caches"]> {
    await using runtime = await Runtime.open({threads, modelPath});
    const prompt = runtime.model.tokenize(text).slice(0, tokens);
    const report = caches.map(({name}) => ({name, times: [] as number[]}));
    for (let round = 0; round < rounds; round++)
        for (const [index, {options}] of caches.entries()) {
            const context = await createContext(runtime.model, {flashAttention: true, ...options}, 1);
            report[index]!.times.push(await firstToken(context.getSequence(), prompt));
            await context.dispose();
        }
    return report;
}

/** Users of one context, one after the other. They differ in their last `own` tokens. */
async function measureSharing(own: number): Promise<FirstTokenReport["sharing"][number]> {
    await using runtime = await Runtime.open({threads, modelPath, policy: {sharing: {automatic: true}}});
    const all = runtime.model.tokenize(text), shared = tokens - Math.max(...ownTokens);
    const prompt = (user: number) => [...all.slice(0, shared), ...all.slice(shared + user * own, shared + (user + 1) * own)];
    const report: FirstTokenReport["sharing"][number] = {tier: sharingTier, shared, own, users: [], forks: []};
    for (let round = 0; round < rounds; round++) {
        const context = await createContext(runtime.model, {kvCache: sharingTier}, sharedBy);
        const sequences = Array.from({length: sharedBy}, () => context.getSequence()), times: number[] = [];
        for (const [user, sequence] of sequences.slice(0, -1).entries()) times.push(await firstToken(sequence, prompt(user)));
        report.users.push(times);
        // A sequence with sliding windows can't be forked far behind its end.
        await timed(() => runtime.store.fork(sequences[0]!, sequences.at(-1)!, {upTo: shared})).then((time) => report.forks.push(time), (error) => {
            if (error.code !== "OPTION_INVALID") throw error;
        });
        await context.dispose();
    }
    return report;
}

const what = values.what.split(",");
if (what.length < 2 && values.out === undefined) throw new Error(`--what ${values.what} leaves out what the file of all results has: name another by --out`);
const out = values.out ?? resultsFile("first-token", values.model), caches = what.includes("caches") ? [reference, ...tiers, ...evictingTiers] : [];
const report: FirstTokenReport = {tokens, threads, caches: await measureCaches(caches), sharing: []};
for (const own of what.includes("sharing") ? ownTokens : []) report.sharing.push(await measureSharing(own));
for (const rendered of Object.values(firstTokenTables(report))) console.log(`${rendered}\n`);
writeFileSync(out, JSON.stringify(report, null, 2) + "\n");
