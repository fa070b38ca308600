import type {Machine, PlannedModel, Speed} from "./scenario.js";

/** What one group of GPUs does in a second, with one cache. */
export interface Throughput {
    /** Tokens a second for so many sequences at once; for less than one, of a step that one waits for. */
    decode(sequences: number): number;
    /** Most sequences that each get at least so many tokens a second. 0 if not even one does. */
    mostAt(leastSpeed: number): number;
    /** Tokens of prompts a second. */
    readonly prefill: number;
    readonly measured: boolean;
}

const mostSequences = 1 << 20;

/**
 * A roofline (Williams et al. 2009): a step reads the weights once and each sequence's cache, and computes two operations a weight and token. What takes
 * longer counts. Attention's own operations, and what GPUs tell each other, are left out.
 * @param gpus that work as one
 * @param read bytes of a sequence's cache that a token reads
 */
export function estimate(model: PlannedModel, machine: Machine, gpus: number, read: number): Throughput {
    const bandwidth = gpus * machine.bandwidth * machine.bandwidthReached, flops = gpus * machine.flops * machine.flopsReached;
    const activeBytes = model.weightBytes * model.activeParameters / model.parameters;
    const seconds = (sequences: number) => Math.max(
        (Math.min(model.weightBytes, activeBytes * Math.max(1, sequences)) + sequences * read) / bandwidth, sequences * 2 * model.activeParameters / flops);
    return {
        decode: (sequences) => sequences / seconds(sequences), prefill: flops / (2 * model.activeParameters), measured: false,
        mostAt: (leastSpeed) => largest(mostSequences, (sequences) => seconds(sequences) <= 1 / leastSpeed)
    };
}

/**
 * What was measured, where it was; the estimate is for the rest. Several GPUs are as many times as fast as the one that was measured. Beyond as many sequences
 * as were measured nothing is promised.
 */
export function withMeasured(estimated: Throughput, {decode, prefill}: Speed, gpus: number): Throughput {
    const evaluated = {...estimated, ...prefill === undefined ? {} : {prefill: prefill * gpus}, measured: prefill !== undefined || decode.length > 0};
    if (decode.length === 0) return evaluated;
    const points = decode.map(({sequences, speed}) => ({sequences: sequences * gpus, speed: speed * gpus}));
    return {
        ...evaluated, decode: (count) => Math.max(...points.map(({sequences, speed}) => speed * Math.min(1, count / sequences))),
        mostAt: (leastSpeed) => Math.max(0, ...points.filter(({sequences, speed}) => speed / sequences >= leastSpeed).map(({sequences}) => sequences))
    };
}

/** The largest whole number from 0 to `most` that fits. All below one that fits do. */
export function largest(most: number, fits: (count: number) => boolean): number {
    let low = 0, high = most + 1;
    while (high - low > 1) {
        const between = Math.floor((low + high) / 2);
        if (fits(between)) low = between;
        else high = between;
    }
    return low;
}
