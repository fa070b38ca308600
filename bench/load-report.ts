import {count, table, threadCount} from "./support/format.js";

type Times = Record<"count" | "p50" | "p90" | "p99" | "max", number>;

/** bench/results/chat-server-load.json, which examples/chat-server/load.js writes: what the table shows of it. */
export interface LoadReport {
    processor: string;
    clients: number;
    seconds: number;
    server: {threads?: string};
    load: {milliseconds: Record<string, Times>; counts: Record<string, number>};
    memory: {limitBytes: number; highestBytes: number};
}

const names = {waited: "waited for a place", firstToken: "first token", answer: "whole answer", answerWithRetries: "with tries that were refused"};

export function loadTable({processor, clients, seconds, server: {threads}, load: {milliseconds, counts}, memory}: LoadReport): string {
    const rows = Object.entries(names).map(([name, label]) => {
        const {p50, p90, p99, max} = milliseconds[name]!;
        return [label, ...[p50, p90, p99, max].map((time) => `${(time / 1000).toFixed(1)} s`)];
    });
    return table(["after", "half within", "90%", "99%", "all"], rows) +
        `\n\n${clients} clients for ${Math.round(seconds / 60)} minutes, ${processor}${threads === undefined ? "" : `, ${threadCount(Number(threads))}`}: ` +
        `${counts.finished} answers, ${counts.aborted} that a client left, ${counts.refused} requests refused and ${counts.cut} answers cut for want of room, ` +
        `${counts.failed} failed, ${counts.wrong} wrong. The cache held at most ${count(memory.highestBytes)} of ${count(memory.limitBytes)} bytes.`;
}
