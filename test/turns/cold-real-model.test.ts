import {readFileSync} from "node:fs";
import {join} from "node:path";
import {attach, MemoryStore} from "llama-deltastore";
import t from "tap";
import {generate, openLlama} from "../support/engine.js";
import {demoModelPath} from "../support/f16-model.js";
import {divergence, nextLogits} from "../support/logits.js";
import {root} from "../support/paths.js";

t.setTimeout(180_000);

const llama = await openLlama(), store = await attach(llama, {policy: {sharing: {automatic: false}}});
const model = await llama.loadModel({modelPath: await demoModelPath(), gpuLayers: 0});
t.teardown(() => llama.dispose());

t.test("a real text is frozen to a small part, and goes on nearly as before; without rows it goes on as before", async (t) => {
    const context = await model.createContext({contextSize: 2048, sequences: 2, kvCache: "high"}), [source, target] = [context.getSequence(), context.getSequence()];
    const text = model.tokenize(readFileSync(join(root, "bench/data/wikitext-2-test-excerpt.txt"), "utf8")).slice(6000, 7181), next = text.splice(1180);
    const turns = await store.openTurns({store: new MemoryStore()});
    await source.evaluateWithoutGeneratingNewTokens(text);
    await turns.save("c", source);
    const expected = await nextLogits(source, next);

    const {bytesBefore, bytesAfter} = await turns.freeze("c", {codec: "transform"});
    t.ok(bytesAfter < 0.7 * bytesBefore, `${bytesBefore} bytes, and ${bytesAfter}`);
    t.match(await turns.restore("c", target), {codec: "transform", evaluated: 0, damaged: []});
    const near = divergence(expected, await nextLogits(target, next));
    t.ok(near < 0.05, `${near} nats`);

    const answers = [];
    await source.clearHistory();
    await source.evaluateWithoutGeneratingNewTokens(text.slice(0, 150));
    await turns.save("d", source);
    await turns.freeze("d", {codec: "tokens"});
    t.match(await turns.restore("d", target), {codec: "tokens", evaluated: 150});
    for (const sequence of [source, target]) answers.push(await generate(sequence, next, 24));
    t.strictSame(answers[1], answers[0]);
    await turns.close();
    await context.dispose();
});
