import {attach} from "llama-deltastore";
import t from "tap";
import {openLlama, randomTokens} from "../support/engine.js";
import {loadTiny, unshared} from "../support/tiny-engine.js";

t.setTimeout(120_000);

const llama = await openLlama(), store = await attach(llama, {policy: unshared});
t.teardown(() => llama.dispose());

t.test("rows behind the windows are given back", async (t) => {
    const model = await loadTiny(llama, "gemma3"), tokens = randomTokens(1000, 17);
    const context = await model.createContext({contextSize: 1024, batchSize: 128, threads: 1, kvCache: "high"}), sequence = context.getSequence();
    const resident: number[] = [], stock: number[] = [];
    for (let end = 100; end <= 1000; end += 100) {
        await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(end - 100, end));
        const {residentBytes, stockBytes} = store.stats(context);
        resident.push(residentBytes);
        stock.push(stockBytes);
    }
    const grown = (bytes: number[], from: number, to: number) => bytes[to]! - bytes[from]!;
    t.ok(grown(stock, 0, 1) > 2 * grown(stock, 8, 9), "windows of stock's are full", {stock});
    t.ok(grown(resident, 0, 3) > 1.5 * grown(resident, 6, 9), "and ours are", {resident});
    await sequence.clearHistory();
    t.ok(store.stats(context).residentBytes < resident[0]!, "nothing is left");
});

t.test("windows are packed", async (t) => {
    const model = await loadTiny(llama, "gemma3"), resident: number[] = [];
    for (const kvCache of ["exact", "high"]) {
        const context = await model.createContext({contextSize: 1024, sequences: 8, batchSize: 128, threads: 1, kvCache});
        const sequences = Array.from({length: 8}, () => context.getSequence());  // what nobody holds is collected
        for (const [i, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(randomTokens(320, i));
        resident.push(store.stats(context).residentBytes);
        t.strictSame(sequences.map(({nextTokenIndex}) => nextTokenIndex), sequences.map(() => 320));
        await context.dispose();
    }
    t.ok(resident[0]! > 2 * resident[1]!, "six of seven layers have windows", {resident});
});
