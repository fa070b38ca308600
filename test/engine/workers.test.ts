import {join} from "node:path";
import {Worker} from "node:worker_threads";
import type {CacheStats} from "llama-deltastore";
import type {Token} from "node-llama-cpp";
import t from "tap";
import {generate} from "../support/engine.js";
import {createSmall, instancePrompt, openInstance, referenceTexts} from "../support/instances.js";
import {root} from "../support/paths.js";
import {tinyPath} from "../support/tiny-engine.js";

t.setTimeout(180_000);

const reference = await referenceTexts();
const modelPath = await tinyPath();

interface WorkerResult {
    tokens: Token[];
    stats: CacheStats;
}

function startWorker(data: {tier: string; count: number; pause?: boolean}) {
    const worker = new Worker(join(root, "test/fixtures/worker.mjs"), {workerData: {modelPath, prompt: instancePrompt, ...data}});
    return {
        worker,
        result: new Promise<WorkerResult>((resolve, reject) => worker.once("message", resolve).once("error", reject)),
        exit: new Promise<number>((resolve) => worker.once("exit", resolve))
    };
}

t.test("worker threads generate what the main thread does, and leave it as it was", async (t) => {
    const first = startWorker({tier: "high", count: 40});
    t.strictSame((await first.result).tokens, reference.get("high"), "a worker, before the main thread uses the engine");
    t.equal(await first.exit, 0);

    const {llama, store, model} = await openInstance();
    const context = await createSmall(model, "exact", {contextSize: 4096, sequences: 4});
    const sequences = [context.getSequence()];  // held: node-llama-cpp empties a collected sequence
    const two = [startWorker({tier: "exact", count: 40}), startWorker({tier: "high", count: 40})];
    const [inExact, inHigh, here] = await Promise.all([two[0]!.result, two[1]!.result, generate(sequences[0]!, instancePrompt, 40)]);
    t.strictSame(inExact.tokens, reference.get("exact"));
    t.strictSame(inHigh.tokens, reference.get("high"));
    t.strictSame(here, reference.get("exact"));
    t.match(inHigh.stats, {tokens: 189, sequences: [{tier: "high", tokens: 189}]});
    t.strictSame(await Promise.all(two.map(({exit}) => exit)), [0, 0]);

    // Not in the middle of a batch: node-llama-cpp itself may abort the process there (an exception as its worker ends).
    for (const tier of ["high", "exact", "high"]) {
        const doomed = startWorker({tier, count: 40, pause: true});
        t.strictSame((await doomed.result).tokens, reference.get(tier));
        const sequence = context.getSequence();
        sequences.push(sequence);
        const going = generate(sequence, instancePrompt, 60);
        await doomed.worker.terminate();
        t.strictSame((await going).slice(0, 40), reference.get("exact"), "the main thread goes on after a worker was terminated");
    }
    t.equal(store.stats(context).tokens, 189 + 3 * 209);
    t.notOk(sequences.some(({disposed}) => disposed));

    const after = startWorker({tier: "high", count: 40});
    t.strictSame((await after.result).tokens, reference.get("high"), "and a new worker can be started");
    await after.exit;
    await llama.dispose();
});
