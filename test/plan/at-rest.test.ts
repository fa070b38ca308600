import {attach, MemoryStore} from "llama-deltastore";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import t from "tap";
import {openLlama} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {root} from "../support/paths.js";
import {builtInTiers, plan} from "../support/plan.js";

t.setTimeout(600_000);

t.test("bytes at rest are those of a saved conversation, for every tier", async (t) => {
    const llama = await openLlama(), file = await demoModelPath(), tokens = 1500;
    t.teardown(() => llama.dispose());
    const store = await attach(llama, {policy: {sharing: {automatic: false}}}), model = await llama.loadModel({modelPath: file, gpuLayers: 0});
    const text = model.tokenize(readFileSync(join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8")).slice(6000, 6000 + tokens + 1);
    const {caches} = await plan({model: {file}, context: {tokens}, caches: [...builtInTiers.keys()] as [string]});
    for (const {name, bytesAtRest} of caches) {
        const context = await model.createContext({contextSize: tokens + 64, kvCache: name, threads: 2}), sequence = context.getSequence();
        for await (const _ of sequence.evaluate(text.slice(0, tokens))) break;  // after which rows are dropped
        const turns = await store.openTurns({store: new MemoryStore()});
        await turns.save("one", sequence);
        const saved = await turns.bytes();
        t.ok(Math.abs(bytesAtRest - saved) <= 0.05 * saved, `${name}: ${saved}, planned ${Math.round(bytesAtRest)} (${(100 * (bytesAtRest / saved - 1)).toFixed(2)}%)`);
        await turns.close();
        await context.dispose();
    }
});
