import {writeSync} from "node:fs";
import {attach} from "llama-deltastore";
import {moreTokens, openLlama, randomTokens} from "../support/engine.js";

// A process that saves one turn after the other until it is killed: `node turn-process.js <model> <folder> <number>`. Conversations "a" to "c" take
// turns, and are forked and deleted in between. Each turn that is stored is told as "<conversation> <id> <tokens>", each line in one write.

const [modelPath, folder, number] = process.argv.slice(2) as [string, string, string];
const llama = await openLlama(), store = await attach(llama, {policy: {sharing: {automatic: false}}});
const model = await llama.loadModel({modelPath, gpuLayers: 0});
const context = await model.createContext({contextSize: 1024, sequences: 3, threads: 1, flashAttention: true, batchSize: 256, kvCache: "high"});
const turns = await store.openTurns({store: folder, history: 6});
const conversations = ["a", "b", "c"].map((name) => ({name, sequence: context.getSequence()}));
for (const {name, sequence} of conversations)
    await turns.restore(name, sequence).catch(async () => await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(200, name.charCodeAt(0))));
writeSync(1, "ready\n");
for (let turn = 0;; turn++) {
    await Promise.all(conversations.map(async ({name, sequence}, index) => {
        if (sequence.nextTokenIndex > 900) await sequence.eraseContextTokenRanges([{start: 200, end: 900}]);
        await sequence.evaluateWithoutGeneratingNewTokens(moreTokens(15, 1000 * Number(number) + 3 * turn + index));
        const {id, tokens} = await turns.save(name, sequence, {data: turn});
        writeSync(1, `${name} ${id} ${tokens}\n`);
    }));
    if (turn % 4 === 1) await turns.fork("a", "copy");
    if (turn % 4 === 3) await turns.delete("copy");
}
