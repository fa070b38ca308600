import {attach} from "llama-deltastore";
import t from "tap";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";
import {goOn, nextLogits, sameLogits} from "../support/logits.js";
import {loadTiny, tinyPath, unshared} from "../support/tiny-engine.js";
import {restoredElsewhere} from "../support/turns.js";

t.setTimeout(300_000);

const llama = await openLlama(), store = await attach(llama, {policy: unshared});
t.teardown(() => llama.dispose());

for (const name of ["lfm2", "qwen35", "granite-hybrid", "gemma3", "gemma4-shared", "gpt-oss-sinks"])
    t.test(`${name}: a turn is restored in a process of its own, and goes on with the same bits`, async (t) => {
        const model = await loadTiny(llama, name), folder = t.testdir(), turns = await store.openTurns({store: folder});
        const context = await model.createContext({contextSize: 1024, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
        const sequence = context.getSequence(), sizes = [1, 30, 90];
        await nextLogits(sequence, randomTokens(600, 1));
        await turns.save("c", sequence);
        const expected = await goOn(sequence, 2, sizes);
        await turns.close();
        await context.dispose();
        const {rows, ...rest} = restoredElsewhere(t, {
            modelPath: await tinyPath(name), tiers: {}, context: "high", folder, conversation: "c", batches: sizes.map((size, index) => moreTokens(size, 2 + index))
        });
        t.strictSame(rest, {evaluated: 0, tokens: 721});
        sameLogits(t, rows, expected);
    });
