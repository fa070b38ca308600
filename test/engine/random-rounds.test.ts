import {attach, type StoreEvent} from "llama-deltastore";
import type {LlamaContextSequence, Token} from "node-llama-cpp";
import t from "tap";
import {codeOf, moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {divergence, nextLogits} from "../support/logits.js";
import {dist} from "../support/paths.js";
import {loadTiny} from "../support/tiny-engine.js";
import {isWell, storeFolder} from "../support/turns.js";
import {settled} from "../support/waiting.js";

const {commonLength} = await import(dist("context/common-length.js")) as typeof import("../../dist/context/common-length.js");

/** DELTASTORE_ROUNDS=1000 was run once. */
const rounds = Number(process.env["DELTASTORE_ROUNDS"] ?? 150), seed = Number(process.env["DELTASTORE_SEED"] ?? 1);
const clients = 3, groups = ["a", "b", "c"] as const;
/** Divergence from stock's answer to the same text, in nats. Rows of another text give several. With random weights eviction has no bound. */
const tiers = {exact: 1e-3, high: 1.5, evicting: Number.MAX_VALUE} as const;
/** What a request may end with when its sequence is disposed. */
const ends = ["fulfilled", "DISPOSED", "Object is disposed"];

t.setTimeout(900_000);

t.test("clients that come, talk, give up, go and come back get stock's answers, and nothing of each other's", async (t) => {
    const llama = await openLlama(), model = await loadTiny(llama);
    t.teardown(() => llama.dispose());
    const folder = storeFolder(t), store = await attach(llama, {policy: {
        sharing: {scope: "group"}, turns: {store: folder, park: 0.15}, tiers: {evicting: {format: "k4v4", evict: {keep: 0.7, slack: 64}}}
    }});
    const options = {contextSize: 1024, threads: 1, flashAttention: true, batchSize: 128};
    const context = await model.createContext({...options, sequences: clients + 1, kvCache: "high"}), turns = await store.openTurns();
    const stock = await model.createContext({...options, kvCache: "stock"}), reference = stock.getSequence();
    const alive = setInterval(() => undefined, 1000);  // parking alone keeps no process
    t.teardown(() => clearInterval(alive));

    /** By number: what is being asked for, and what the sequence held before. */
    const asked = new Map<number, {group: string; tokens: readonly Token[]; held: number}>();
    const submitted = new Map<string, (readonly Token[])[]>(groups.map((group) => [group, []]));
    const leaks: string[] = [], counts = {given: 0, answered: 0, attached: 0, parked: 0, restored: 0};
    store.onEvent.createListener((event: StoreEvent) => {
        if (event.type === "park") counts.parked++;
        if (event.type !== "attach") return;
        const {group, tokens, held} = asked.get(event.sequenceId)!, end = held + event.tokens;
        counts.attached++;
        if (Math.max(...submitted.get(group)!.map((text) => commonLength(text, tokens))) < end) leaks.push(`${end} tokens for ${group}`);
    });

    const answers = new Map<string, Float32Array>();
    let answering = Promise.resolve();
    /** The stock cache's logits of the token after these. */
    const stocks = async (tokens: readonly Token[]): Promise<Float32Array> => {
        const key = tokens.join();
        answering = answering.then(async () => {
            if (answers.has(key)) return;
            await reference.clearHistory();
            answers.set(key, await nextLogits(reference, tokens));
        });
        await answering;
        return answers.get(key)!;
    };

    const system = randomTokens(120, 1), secrets = new Map<string, readonly Token[]>(groups.map((group, at) => [group, [...system, ...moreTokens(150, 2 + at)]]));
    let saved = 0;
    async function round(random: Gaussian): Promise<void> {
        const group = groups[random.integer(groups.length)]!, tier = (Object.keys(tiers) as (keyof typeof tiers)[])[random.integer(3)]!;
        const sequence = context.getSequence({kvCache: tier, sharingGroup: group}), {_sequenceId: number} = sequence as unknown as {_sequenceId: number};
        const about = secrets.get(groups[random.integer(groups.length)]!)!;  // a client that guesses another's text gets no rows of it
        const texts = [[...about, ...moreTokens(1 + random.integer(150), random.integer(1e6))], moreTokens(1 + random.integer(90), random.integer(1e6))];
        let held: Token[] = [];
        /** One request, and the logits of the token after it. */
        const ask = async (tokens: readonly Token[]): Promise<Float32Array> => {
            const all = [...held, ...tokens];
            asked.set(number, {group, tokens: all, held: held.length});
            const answer = nextLogits(sequence, tokens);
            submitted.get(group)!.push(all);  // from now on others of the group may wait for its rows and share them
            held = all;
            return await answer;
        };
        if (random.uniform() < 0.5) {
            const going = codeOf(ask(texts[0]!)), then = random.uniform() < 0.3 ? codeOf(turns.save(`c${saved++}`, sequence)) : null;
            await settled(random.integer(21));
            const ended = sequence.dispose();
            if (random.uniform() < 0.5) await ended;
            const codes = [await going, await then ?? "fulfilled"].filter((code) => !ends.includes(code) && code !== "OPTION_INVALID");
            await ended;
            counts.given++;
            if (codes.length > 0) t.fail(`given up: ${codes.join()}`);
            return;
        }
        const check = async (answer: Float32Array): Promise<void> => {
            const found = divergence(await stocks(held), answer);
            counts.answered++;
            if (!(found < tiers[tier])) t.fail(`${tier}: ${found} from stock after ${held.length} tokens`);
        };
        await check(await ask(texts[0]!));
        if (random.uniform() < 0.3) await settled(300);  // long enough to be parked
        if (random.uniform() < 0.3) {
            const end = held.length - 1 - random.integer(60);
            await sequence.eraseContextTokenRanges([{start: end, end: held.length}]);
            held = held.slice(0, end);
        }
        const name = `c${saved++}`, keeps = random.uniform() < 0.3;
        if (keeps) await turns.save(name, sequence);
        await check(await ask(texts[1]!));
        await (random.uniform() < 0.5 ? sequence.dispose() : Promise.resolve(void sequence.dispose()));
        if (!keeps || context.sequencesLeft === 0) return;
        const again: LlamaContextSequence = context.getSequence({kvCache: tier, sharingGroup: group});
        const {tokens} = (await turns.restore(name, again)).turn;
        counts.restored++;
        held = held.slice(0, tokens);
        const rest = moreTokens(5, saved), answer = await nextLogits(again, rest);
        held = [...held, ...rest];
        await check(answer);
        await again.dispose();
    }
    let begun = 0;
    await Promise.all(Array.from({length: clients}, async (_, client) => {
        const random = new Gaussian(1000 * seed + client);
        while (begun++ < rounds) {
            while (context.sequencesLeft === 0) await settled(1);
            await round(random);
        }
    }));
    t.strictSame(leaks, []);
    t.comment(JSON.stringify(counts));
    t.ok(counts.given > rounds / 4 && counts.answered > rounds / 4 && counts.attached > rounds / 20 && counts.parked > 0 && counts.restored > 0, JSON.stringify(counts));
    await context.dispose();
    for (let conversation = 0; conversation < saved; conversation++) await turns.delete(`c${conversation}`);
    for (let waited = 0; (await turns.bytes()) > 0 && waited < 100; waited++) await settled(50);
    await isWell(t, turns);
    t.equal(await turns.bytes(), 0, "nothing is left that nobody holds");
    await turns.close();
    await stock.dispose();
});
