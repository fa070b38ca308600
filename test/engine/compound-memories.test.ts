import {readFile, writeFile} from "node:fs/promises";
import {join} from "node:path";
import {attach, MemoryStore} from "llama-deltastore";
import type {LlamaContextSequence, LlamaModel, Token} from "node-llama-cpp";
import t, {type Test} from "tap";
import {codeOf, handleOf, moreTokens, openLlama, randomTokens, rejection} from "../support/engine.js";
import {Gaussian} from "../support/gaussian.js";
import {divergence, nextLogits, sameLogits} from "../support/logits.js";
import {checksum} from "../support/checksum.js";
import {dist} from "../support/paths.js";
import {isAtLeast} from "../support/runtime.js";
import {loadTiny} from "../support/tiny-engine.js";

// Models with sliding windows or recurrent layers: their memory has two parts, and all that is done to a sequence is done to both.
const {packedOf} = await import(dist("context/packed.js")) as typeof import("../../dist/context/packed.js");
const {lifeOf} = await import(dist("context/sequence-life.js")) as typeof import("../../dist/context/sequence-life.js");

/** DELTASTORE_STEPS=2000 was run once. */
const steps = Number(process.env["DELTASTORE_STEPS"] ?? 60), seed = Number(process.env["DELTASTORE_SEED"] ?? 1);
/** Of one row from stock's, in nats. Rows of another text give several. Measured: at most 1.6e-3 (gemma4-shared). */
const bound = 5e-3;
const windows = ["gemma3", "gemma4-shared", "gpt-oss-sinks"], recurrent = ["lfm2", "qwen35", "granite-hybrid"];
/** Longer than a window and the rows behind it that stay. */
const most = 600, sequences = 3;

t.setTimeout(600_000 + 2_000 * steps);

const llama = await openLlama(), store = await attach(llama, {policy: {turns: {store: t.testdir(), park: 86_400}}});
t.teardown(() => llama.dispose());

const options = {contextSize: 1024, threads: 1, flashAttention: true, batchSize: 128};
const createContext = (model: LlamaModel, kvCache = "exact") => model.createContext({...options, sequences, kvCache});

async function load(t: Test, name: string): Promise<LlamaModel> {
    const model = await loadTiny(llama, name);
    t.teardown(() => model.dispose());
    return model;
}

// Without gpt-oss: rounding turns the choice of its experts, so that stock in other batches differs from itself by up to 1 nat.
for (const name of ["gemma3", "gemma4-shared", ...recurrent]) {
    t.test(`${name}: random operations leave what stock makes of the same tokens`, async (t) => {
        const model = await load(t, name), context = await createContext(model), random = new Gaussian(seed);
        const reference = (await createContext(model, "stock")).getSequence();
        const turns = await store.openTurns({store: new MemoryStore()});
        const all = Array.from({length: sequences}, () => context.getSequence({checkpoints: {interval: 40, max: 6}}));
        const held: Token[][] = all.map(() => []), differences: string[] = [];
        const counts = {evaluate: 0, rewind: 0, erase: 0, fork: 0, share: 0, turn: 0, park: 0, file: 0, clear: 0, dispose: 0};
        /** Texts that sequences held. Their beginnings may be kept. */
        const texts: Token[][] = [];
        let largest = 0, parked = 0;

        const compare = async (index: number, what: string) => {
            const [token] = moreTokens(1, random.integer(1e6)), tokens = [...held[index]!, token!];
            await reference.clearHistory();
            const difference = divergence(await nextLogits(reference, tokens), await nextLogits(all[index]!, [token!]));
            held[index] = tokens;
            largest = Math.max(largest, difference);
            if (!(difference < bound)) differences.push(`${what}: ${difference}`);
        };
        const does: Record<keyof typeof counts, (from: LlamaContextSequence, to: LlamaContextSequence, index: number, other: number) => Promise<void>> = {
            evaluate: async (from, _to, index) => {
                const tokens = moreTokens(1 + random.integer(90), random.integer(1e6));
                if (held[index]!.length + tokens.length > most) return;
                await from.evaluateWithoutGeneratingNewTokens(tokens);
                held[index]!.push(...tokens);
            },
            rewind: async (from, _to, index) => {
                const length = random.integer(held[index]!.length + 1);
                await from.eraseContextTokenRanges([{start: length, end: held[index]!.length}]);
                held[index]!.length = length;
            },
            erase: async (from, _to, index) => {
                const start = random.integer(held[index]!.length + 1), end = start + random.integer(60);
                await from.eraseContextTokenRanges([{start, end}]);
                held[index]!.splice(start, end - start);
            },
            fork: async (from, to, index, other) => {
                await store.fork(from, to);
                held[other] = [...held[index]!];
            },
            share: async (_from, to, _index, other) => {
                const text = [...texts, ...held.filter(({length}) => length > 0)].at(-1 - random.integer(4)) ?? [];
                await does.clear(to, to, other, other);
                const tokens = [...text.slice(0, 1 + random.integer(text.length)), ...moreTokens(1 + random.integer(40), random.integer(1e6))].slice(0, most);
                await to.evaluateWithoutGeneratingNewTokens(tokens);
                held[other] = tokens;
            },
            park: async (from) => {
                if (await park(from)) parked++;
            },
            turn: async (from, to, index, other) => {
                if (held[index]!.length === 0) return;
                await turns.save("one", from);
                if (random.integer(2) === 0) await does.evaluate(from, to, index, other);  // the turn stays as it was
                const saved = (await turns.history("one")).at(-1)!.tokens, {evaluated} = await turns.restore("one", to);
                if (evaluated > 0) differences.push(`${evaluated} of ${saved} tokens were evaluated again`);
                held[other] = held[index]!.slice(0, saved);
            },
            file: async (from, to, index, other) => {
                if (held[index]!.length === 0) return;
                const path = join(t.testdirName, "state.bin");
                await from.saveStateToFile(path);
                await to.loadStateFromFile(path, {acceptRisk: true});
                held[other] = [...held[index]!];
            },
            clear: async (from, _to, index) => {
                if (held[index]!.length > 0) texts.push(held[index]!);
                await from.clearHistory();
                held[index] = [];
            },
            dispose: async (from, to, index, other) => {
                await from.dispose();
                all[index] = context.getSequence({checkpoints: {interval: 40, max: 6}});
                texts.push(held[index]!);
                held[index] = [];
                await does.share(to, all[index]!, other, index);
            }
        };
        t.testdir();
        const operations = Object.keys(does) as (keyof typeof counts)[];
        for (let step = 0; step < steps; step++) {
            const operation = operations[random.integer(operations.length + 3)] ?? "evaluate";
            const index = random.integer(sequences), other = (index + 1 + random.integer(sequences - 1)) % sequences;
            counts[operation]++;
            await does[operation](all[index]!, all[other]!, index, other);
            for (const one of [index, other]) {
                t.strictSame(all[one]!.contextTokens, held[one], `step ${step}, ${operation}: the tokens`);
                await compare(one, `step ${step}, ${operation}`);
                if (held[one]!.length >= most) await does.clear(all[one]!, all[one]!, one, one);
            }
        }
        const {attached, attachedTokens} = store.stats(context).sharing!;
        t.strictSame(differences, [], "the same as stock", {largest, counts});
        t.ok(attached > 0 && parked > 0, `${attached} attached, ${parked} parked`);
        t.comment(`largest difference ${largest.toExponential(1)}, ${JSON.stringify(counts)}, ${attachedTokens} tokens attached in ${attached}, ${parked} parked`);
    });
}

/** Gives a sequence's rows to the store of turns. False if it has too few. */
async function park(sequence: LlamaContextSequence): Promise<boolean> {
    const life = lifeOf(sequence)!, parking = packedOf(handleOf(sequence.context))!.parking!;
    return await parking.park(life, (work) => life.between(work), true);
}

t.test("recurrent states, which llama.cpp keeps, are told, and count on both sides", async (t) => {
    const context = await createContext(await load(t, "lfm2"), "high"), {bytesBeside, residentBytes, stockBytes, sharing} = store.stats(context);
    t.ok(bytesBeside > 1e3, "lfm2", {bytesBeside});
    t.ok(residentBytes >= bytesBeside && stockBytes === bytesBeside, "an empty context has nothing else", {residentBytes, stockBytes});
    t.match(sharing, {keptPrefixes: 0, stateBytes: 0});
    for (const name of ["llama-head-128", "gemma3"]) t.equal(store.stats(await createContext(await load(t, name))).bytesBeside, 0, name);
});

t.test("a window's sequence can be forked where the source has the window's rows; a recurrent one whole", async (t) => {
    const tokens = randomTokens(700, 4), more = moreTokens(5, 5);
    const forkOf = async (name: string, upTo: number) => {
        const context = await createContext(await load(t, name)), [source, target, fresh] = Array.from({length: 3}, () => context.getSequence());
        await source!.evaluateWithoutGeneratingNewTokens(tokens);
        await target!.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 7));
        return {fork: store.fork(source!, target!, {upTo}), target: target!, fresh: fresh!};
    };
    const near = await forkOf("gemma3", 690);
    await near.fork;
    await near.fresh.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 690));
    t.ok(divergence(await nextLogits(near.fresh, more), await nextLogits(near.target, more)) < bound, "the last tokens can be left out");
    for (const [name, upTo, allowed] of [["gemma3", 80, /hold rows from position \d+ on only/], ["lfm2", 690, /behind all of its 700 tokens/]] as const) {
        const far = await forkOf(name, upTo), error = await rejection(far.fork);
        t.match(error, {code: "OPTION_INVALID", message: allowed});
        t.match(error.message, new RegExp(`behind (its first )?${upTo}( tokens)?$`));
        t.strictSame(far.target.contextTokens, tokens.slice(0, 7), "the target is as it was");
        t.ok((await nextLogits(far.target, more)).every(Number.isFinite), "and goes on");
    }
});

t.test("a fork goes back to its source's checkpoints", async (t) => {
    for (const name of ["gemma3", "qwen35"]) {
        const context = await createContext(await load(t, name)), tokens = randomTokens(800, 6), more = moreTokens(3, 7);
        const source = context.getSequence(), target = context.getSequence(), fresh = context.getSequence();
        await source.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 200));
        await source.takeCheckpoint();
        await source.evaluateWithoutGeneratingNewTokens(tokens.slice(200));
        await store.fork(source, target);
        const before = target.tokenMeter.usedInputTokens;
        await target.eraseContextTokenRanges([{start: 205, end: 800}]);
        // Before, node-llama-cpp's checkpoints belong to one sequence.
        const evaluated = target.tokenMeter.usedInputTokens - before;
        if (isAtLeast(3, 22)) t.equal(evaluated, 5, "only what comes after the checkpoint is evaluated");
        else t.ok(evaluated <= 205, "the checkpoint is not known there");
        await fresh.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 205));
        t.ok(divergence(await nextLogits(fresh, more), await nextLogits(target, more)) < bound, name);
    }
});

t.test("a sequence that loses tokens in its middle goes back to no state that has seen them", async (t) => {
    for (const name of ["gemma3", "gpt-oss-sinks", ...recurrent]) {
        const context = await createContext(await load(t, name)), sequence = context.getSequence(), fresh = context.getSequence(), tokens = randomTokens(150, 17);
        const more = moreTokens(3, 18), left = [...tokens.slice(0, 70), ...tokens.slice(80)];
        for (const length of [60, 100, 150]) {
            await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(sequence.nextTokenIndex, length));
            await sequence.takeCheckpoint();
        }
        const before = sequence.tokenMeter.usedInputTokens;
        await sequence.eraseContextTokenRanges([{start: 70, end: 80}]);
        t.strictSame(sequence.contextTokens, left, name);
        t.equal(sequence.tokenMeter.usedInputTokens - before, 80, `${name}: what comes after the first checkpoint is evaluated again`);
        const compare = async (what: string) => {
            await fresh.clearHistory();
            await fresh.evaluateWithoutGeneratingNewTokens(left);
            t.ok(divergence(await nextLogits(fresh, more), await nextLogits(sequence, more)) < bound, `${name}: ${what}`);
        };
        await compare("the same as without the tokens");
        left.length = 110;
        await sequence.eraseContextTokenRanges([{start: 110, end: sequence.nextTokenIndex}]);
        await compare("nor does it later");
    }
});

t.test("a restored turn goes on with the same bits, and forgets the sequence's own checkpoints", async (t) => {
    for (const name of [...windows, ...recurrent]) {
        const model = await load(t, name), first = (await createContext(model, "high")).getSequence(), turns = await store.openTurns({store: new MemoryStore()});
        await first.evaluateWithoutGeneratingNewTokens(randomTokens(300, 8));
        await turns.save("one", first);
        const expected = await nextLogits(first, moreTokens(3, 9));
        const second = (await createContext(model, "high")).getSequence();
        await second.evaluateWithoutGeneratingNewTokens(randomTokens(250, 10));
        await second.takeCheckpoint();
        t.equal((await turns.restore("one", second)).evaluated, 0);
        t.equal(second.lastCheckpointIndex, 0);
        sameLogits(t, [await nextLogits(second, moreTokens(3, 9))], [expected], name);
    }
});

t.test("an earlier turn, which has no state of those layers, is evaluated again", async (t) => {
    for (const name of ["gemma3", "lfm2"]) {
        const context = await createContext(await load(t, name)), [sequence, other, fresh] = Array.from({length: 3}, () => context.getSequence());
        const turns = await store.openTurns({store: new MemoryStore(), history: 3}), tokens = randomTokens(200, 11);
        await sequence!.evaluateWithoutGeneratingNewTokens(tokens);
        const {id} = await turns.save("one", sequence!);
        await sequence!.evaluateWithoutGeneratingNewTokens(moreTokens(50, 12));
        await turns.save("one", sequence!);
        t.equal((await turns.restore("one", other!, {turn: id})).evaluated, 200);
        await fresh!.evaluateWithoutGeneratingNewTokens(tokens);
        t.ok(divergence(await nextLogits(fresh!, moreTokens(2, 13)), await nextLogits(other!, moreTokens(2, 13))) < bound, name);
    }
});

t.test("a state file that was changed beside the attention is refused, and the sequence is empty", async (t) => {
    for (const name of ["gemma3", "lfm2"]) {
        const context = await createContext(await load(t, name)), sequence = context.getSequence(), shorter = context.getSequence();
        const path = join(t.testdir(), "state.bin");
        await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(150, 14));
        await sequence.saveStateToFile(path);
        const bytes = await readFile(path), at = bytes.lastIndexOf("DSBS");
        t.ok(at > 0);
        for (const place of [at + 40, bytes.length - 30, at + 9]) {
            const changed = Buffer.from(bytes);
            changed[place]! ^= 1;
            await writeFile(path, changed);
            t.equal(await codeOf(sequence.loadStateFromFile(path, {acceptRisk: true})), "STATE_DAMAGED", `${name}, byte ${place} of ${bytes.length}`);
            t.equal(sequence.nextTokenIndex, 0);
        }
        await shorter.evaluateWithoutGeneratingNewTokens(randomTokens(120, 14));
        await shorter.saveStateToFile(path);
        const other = await readFile(path);
        await writeFile(path, Buffer.concat([bytes.subarray(0, at), other.subarray(other.lastIndexOf("DSBS"))]));
        t.equal(await codeOf(sequence.loadStateFromFile(path, {acceptRisk: true})), "STATE_DAMAGED", `${name}, parts of different lengths`);
        t.equal(sequence.nextTokenIndex, 0);
        // What a file with the right checksum may say. llama.cpp would end the process.
        const state = at + 16, cells = state, end = state + Number(bytes.readBigUInt64LE(at + 8));
        for (const [place, value] of name !== "lfm2" ? [] : [[cells, 1000], [cells, 0xffffffff], [cells, 0], [cells + 4, 7], [cells + 4, 0xfffffff0], [cells + 4, 0x7fffffff]] as const) {
            const forged = Buffer.from(bytes);
            forged.writeUInt32LE(value, place);
            forged.writeBigUInt64LE(checksum(forged.subarray(state, end)), end);
            await writeFile(path, forged);
            t.equal(await codeOf(sequence.loadStateFromFile(path, {acceptRisk: true})), "STATE_DAMAGED", `${name}, ${value} at ${place - state}`);
            t.equal(sequence.nextTokenIndex, 0);
        }
        await writeFile(path, bytes);
        await sequence.loadStateFromFile(path, {acceptRisk: true});
        t.equal(sequence.nextTokenIndex, 150);
    }
});

t.test("whole windows (swaFullCache) go back without checkpoints", async (t) => {
    const model = await load(t, "gemma3"), tokens = randomTokens(350, 15), more = moreTokens(3, 16);
    const context = await model.createContext({...options, kvCache: "exact", swaFullCache: true} as object), sequence = context.getSequence();
    const stock = (await createContext(model, "stock")).getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(tokens);
    const before = sequence.tokenMeter.usedInputTokens;
    await sequence.eraseContextTokenRanges([{start: 100, end: 350}]);
    t.equal(sequence.tokenMeter.usedInputTokens, before, "nothing is evaluated again");
    await stock.evaluateWithoutGeneratingNewTokens(tokens.slice(0, 100));
    t.ok(divergence(await nextLogits(stock, more), await nextLogits(sequence, more)) < bound);
});
