import {availableParallelism} from "node:os";
import type {LlamaModel, Token} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import {readPolicy} from "../policy/load.js";
import {attach} from "../store/attach.js";
import {stockCaches, type PlannedModel, type Scenario} from "./scenario.js";

/** Bytes by cache: of one conversation, and what a further one adds. */
export type MeasuredBytes = ReadonlyMap<string, {readonly first: number; readonly further: number}>;

/** Conversations that are filled: memory comes from the system half a MiB at a time, which the mean of several evens out. */
const filled = 4;
/** For the kept beginning to stay, however long it is. */
const keptBeginnings = "1TB";

/**
 * Fills the scenario's contexts on this machine, with each of its tiers, and says what they hold: of one conversation, and of further ones that begin like
 * it. What node-llama-cpp allocates for stock caches is known without.
 * @throws DeltaStoreError PLAN_INVALID without a model file on this machine
 */
export async function measureBytes(model: PlannedModel, scenario: Scenario): Promise<MeasuredBytes> {
    if (model.path === null) throw new DeltaStoreError("PLAN_INVALID", "Measuring needs a model file on this machine: give one as model.file.");
    const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");
    // By itself the runtime takes 4 threads at least. On fewer processors they mostly wait for each other.
    const llama = await getLlama({gpu: false, logLevel: LlamaLogLevel.error, maxThreads: availableParallelism()});
    try {
        const {pool: _, turns: __, ...policy} = readPolicy(scenario.policy);
        const store = await attach(llama, {policy: {...policy, sharing: {...policy.sharing, kept: keptBeginnings}}});
        const loaded = await llama.loadModel({modelPath: model.path, gpuLayers: 0}), measured = new Map<string, {first: number; further: number}>();
        for (const name of scenario.caches.filter((cache) => !(cache in stockCaches))) {
            const context = await loaded.createContext({contextSize: scenario.context.tokens + 1, sequences: filled, kvCache: name});
            const sequences = Array.from({length: filled}, () => context.getSequence()), held: number[] = [];
            const tokens = scenario.context.tokens, shared = tokensOf(loaded, scenario.context.sharedTokens, "shared");
            if (shared.length > 0) await sequences[0]!.evaluateWithoutGeneratingNewTokens(shared);
            await sequences[0]!.clearHistory();  // the beginning is kept for both
            for (const [index, sequence] of sequences.entries()) {
                const own = tokensOf(loaded, tokens - shared.length, `own ${index}`);
                for await (const _ of sequence.evaluate([...shared, ...own])) break;
                held.push(store.stats(context).residentBytes);
            }
            measured.set(name, {first: held[0]!, further: (held.at(-1)! - held[0]!) / (filled - 1)});
            await context.dispose();
        }
        return measured;
    } finally {
        await llama.dispose();
    }
}

/** Some text's, different for each name. */
function tokensOf(model: LlamaModel, count: number, name: string): Token[] {
    return model.tokenize(Array.from({length: count}, (_, word) => `${name} ${word}`).join(", ")).slice(0, count);
}
