import type {CodecName, CodecOptions} from "../policy/codecs.js";
import type {ColdFacts, ShapeFacts} from "./facts.js";

export interface ColdCase {
    /** Of a conversation. */
    readonly tokens: number;
    /** For a GB (1e9 bytes) in a month. */
    readonly diskPrice: number;
    /** For an hour of a core. */
    readonly cpuPrice: number;
    /** Share of the conversations that are opened in a month. */
    readonly returns: number;
    readonly model: Pick<ShapeFacts, "attention" | "windows" | "parameters" | "activeParameters">;
}

/** What one conversation takes with a codec. */
export interface ColdCost {
    readonly codec: CodecName | "packed";
    readonly options: CodecOptions;
    /** At rest. */
    readonly bytes: number;
    /** Until it is restored. */
    readonly seconds: number;
    /** A month. */
    readonly disk: number;
    readonly cpu: number;
    /** Prices of a GB-month between which it is the cheapest. Null if it never is. */
    readonly cheapest: {readonly from: number; readonly to: number} | null;
}

const secondsPerHour = 3600, bytesPerGb = 1e9;

/** Elements of the keys and values of one token. */
export function elementsOf({attention, windows = []}: Pick<ShapeFacts, "attention" | "windows">): number {
    return [...attention, ...windows].reduce((sum, {count, kvHeads, keyLength, valueLength, latent = false}) =>
        sum + count * kvHeads * (keyLength + (latent ? 0 : valueLength)), 0);
}

/**
 * What conversations cost that are stored cold, with each codec, the cheapest first. Bytes and times are those that were measured, in proportion: of rows to
 * tokens and elements, of evaluating to tokens and parameters.
 */
export function coldCosts({tokens, diskPrice, cpuPrice, returns, model}: ColdCase, facts: ColdFacts): ColdCost[] {
    const length = tokens / facts.tokens, rows = length * elementsOf(model) / facts.elements;
    const work = length * (model.activeParameters ?? model.parameters) / facts.parameters;
    const lines = facts.codecs.map(({codec, bytes, seconds, cores, ...options}) => {
        const evaluates = codec === "tokens", restore = seconds * (evaluates ? work : rows);
        return {codec, options, bytes: bytes * (evaluates ? length : rows), seconds: restore, cpu: returns * restore * cores / secondsPerHour * cpuPrice};
    });
    return lines.map((line) => ({...line, disk: line.bytes / bytesPerGb * diskPrice, cheapest: cheapestAt(line, lines)}))
        .sort((a, b) => a.disk + a.cpu - b.disk - b.cpu || a.bytes - b.bytes);
}

interface Line {
    readonly bytes: number;
    readonly cpu: number;
}

/** Prices of a GB-month between which none of the others is cheaper. */
function cheapestAt(line: Line, others: readonly Line[]): ColdCost["cheapest"] {
    let from = 0, to = Infinity;
    for (const other of others) {
        const price = (other.cpu - line.cpu) / (line.bytes - other.bytes) * bytesPerGb;  // where both cost the same
        if (other.bytes < line.bytes) to = Math.min(to, price);
        else if (other.bytes > line.bytes) from = Math.max(from, price);
        else if (other.cpu < line.cpu) return null;
    }
    return from < to ? {from, to} : null;
}
