import {DisposedError} from "node-llama-cpp";
import t from "tap";
import {generate} from "../support/engine.js";
import {nextLogits} from "../support/logits.js";
import {openSharing, prefix, question} from "../support/sharing.js";
import {settled} from "../support/waiting.js";

t.setTimeout(240_000);

const {store, createContext} = await openSharing(t);

t.test("a new prompt does not wait until others have done generating", async (t) => {
    const context = await createContext("high");
    const sequences = [1, 2, 3].map(() => context.getSequence());
    await sequences[0]!.evaluateWithoutGeneratingNewTokens(prefix);
    let generated = 0, generatedBefore = -1;
    const generating = [0, 1].map(async (index) => {
        for await (const _ of sequences[index]!.evaluate(question(index), {temperature: 0, yieldEogToken: true}))
            if (++generated >= 400) break;
    });
    await settled();
    await nextLogits(sequences[2]!, [...prefix, ...question(5)]);
    generatedBefore = generated;
    await Promise.all(generating);
    t.ok(generatedBefore < 350, `after ${generatedBefore} tokens of the others`);
    t.equal(store.stats(context).sharing!.attached, 1);
    await context.dispose();
});

t.test("a sequence that is disposed while it generates or waits ends as stock's does", async (t) => {
    const context = await createContext("high");
    const first = context.getSequence(), second = context.getSequence();
    const generating = (async () => {
        for await (const _ of first.evaluate(question(1), {temperature: 0, yieldEogToken: true}));
    })();
    await settled();
    const waiting = nextLogits(second, [...prefix, ...question(2)]);
    first.dispose();
    second.dispose();
    const [stopped, waited] = await Promise.allSettled([generating, waiting]);
    t.type(stopped.status === "rejected" && stopped.reason, DisposedError);
    if (waited.status === "rejected") t.type(waited.reason, DisposedError);  // else it was done before
    await settled();
    t.equal((await generate(context.getSequence(), question(3), 3)).length, 3);
    await context.dispose();
});
