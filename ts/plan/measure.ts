import {availableParallelism} from "node:os";
import type {LlamaContextSequence, LlamaModel, Token} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import {readPolicy} from "../policy/load.js";
import {attach} from "../store/attach.js";
import {isStock, type PlannedModel, type Scenario} from "./scenario.js";

/** Bytes by cache: of a shared beginning, and of a conversation besides. */
export type MeasuredBytes = ReadonlyMap<string, {readonly beginning: number; readonly own: number}>;

/** Conversations that are filled: memory comes from the system half a MiB at a time, which the mean of several evens out. */
const filled = 4;

/**
 * Fills the scenario's contexts on this machine, with each of its tiers, and says what they hold: a shared beginning, and conversations
 * that begin with it. What node-llama-cpp allocates for stock caches is known without.
 * @throws DeltaStoreError PLAN_INVALID without a model file on this machine
 */
export async function measureBytes(model: PlannedModel, scenario: Scenario): Promise<MeasuredBytes> {
    if (model.path === null) throw new DeltaStoreError("PLAN_INVALID", "Measuring needs a model file on this machine: give one as model.file.");
    const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");
    // By itself the runtime takes 4 threads at least. On fewer processors they mostly wait for each other.
    const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: availableParallelism()});
    try {
        const {tiers} = readPolicy(scenario.policy), measured = new Map<string, {beginning: number; own: number}>();
        const store = await attach(llama, {policy: {...tiers === undefined ? {} : {tiers}, sharing: {automatic: false}}});
        const loaded = await llama.loadModel({modelPath: model.path, gpuLayers: 0});
        const {tokens, sharedTokens} = scenario.context, shared = tokensOf(loaded, sharedTokens, "shared");
        const own = Array.from({length: filled}, (_, index) => tokensOf(loaded, tokens - sharedTokens, `own ${index}`));
        for (const name of scenario.caches.filter((cache) => !isStock(cache))) {
            const context = await loaded.createContext({contextSize: tokens + 1, sequences: filled + 1, kvCache: name});
            const first = context.getSequence(), others = Array.from({length: filled}, () => context.getSequence());
            // Recurrent states have room for all sequences from the start.
            const rows = () => store.stats(context).residentBytes - (filled + 1) * model.shape.stateBytes;
            await evaluate(first, shared);
            const beginning = rows();
            for (const [index, sequence] of others.entries()) {
                if (shared.length > 0) await store.fork(first, sequence);
                await evaluate(sequence, own[index]!);
            }
            const {stateBytes} = model.shape;
            measured.set(name, {beginning: shared.length > 0 ? beginning + stateBytes : 0, own: (rows() - beginning) / filled + stateBytes});
            await context.dispose();
        }
        return measured;
    } finally {
        await llama.dispose();
    }
}

/** A token is asked for, so that tiers drop rows that are due. */
async function evaluate(sequence: LlamaContextSequence, tokens: readonly Token[]): Promise<void> {
    for await (const _ of sequence.evaluate([...tokens])) break;
}

/** Some text's, different for each name. */
function tokensOf(model: LlamaModel, count: number, name: string): Token[] {
    return model.tokenize(Array.from({length: count}, (_, word) => `${name} ${word}`).join(", ")).slice(0, count);
}
