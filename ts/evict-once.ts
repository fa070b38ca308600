import type {CacheEvent} from "./events.js";
import type {Eviction, NativeBinding} from "./native.js";
import type {AddonContext} from "./runtime-internals.js";

/** Drops rows of a sequence and tells what is left. */
export async function evictOnce(context: AddonContext, native: NativeBinding, sequenceId: number, eviction: Eviction,
                                emit: (event: CacheEvent) => void): Promise<void> {
    await native.evict(context, sequenceId, eviction);
    const left = native.stats(context).sequences.find(({id}) => id === sequenceId);  // no kept prefix's
    if (left !== undefined) emit({type: "evict", sequenceId, tokens: left.tokens, kept: left.kept});
}
