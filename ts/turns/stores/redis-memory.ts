import type {Step} from "./snapshot-store.js";

/** A server's memory in bytes, as INFO tells it. */
export interface ServerMemory {
    /** 0 for no limit. */
    readonly limit: number;
    /** Bytes that count against the limit. */
    readonly used: number;
    readonly policy: string;
}

/** Bytes that the server takes besides: for a value (allocations are rounded up), for a name, for connections. */
const perByte = 1.25, perName = 256, forConnections = 256 * 1024;

/** @param info the answer to INFO. Undefined if that does not tell. */
export function memoryOf(info: string): ServerMemory | undefined {
    const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1];
    const policy = field("maxmemory_policy"), limit = Number(field("maxmemory")), used = Number(field("used_memory"));
    if (policy === undefined || Number.isNaN(limit) || Number.isNaN(used)) return undefined;
    return {policy, limit, used: used - Number(field("mem_not_counted_for_evict") ?? 0)};
}

/** Whether it evicts keys without a time to live, such as the store's. */
export function evicts({limit, policy}: ServerMemory): boolean {
    return limit > 0 && policy.startsWith("allkeys-");
}

/** Lengths of the values that a step writes. */
export function lengthsOf({objects, replace, put}: Step): number[] {
    return [...objects ?? [], ...replace ?? [], ...put ?? []].map(([, value]) => value.length);
}

/**
 * Bytes that a server needs free for values of these lengths: for the command that brings them, and then for them, and beside either for a buffer
 * of the largest object, in which clients send and read it. Buffers count against the limit, too.
 */
export function roomFor(lengths: readonly number[], largest: number): number {
    const sum = lengths.reduce((sum, length) => sum + length, 0);
    return Math.ceil(perByte * (sum + largestOf(lengths, largest)) + perName * lengths.length + forConnections);
}

export function largestOf(lengths: readonly number[], least: number): number {
    return lengths.reduce((most, length) => Math.max(most, length), least);
}
