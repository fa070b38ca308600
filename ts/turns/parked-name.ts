import {randomUUID} from "node:crypto";
import {hostname} from "node:os";

const prefix = "\0parked", day = 86_400_000;

/** What a process calls a parked sequence in a store that others may use, too. */
export function parkedName(): string {
    return [prefix, hostname(), process.pid, randomUUID()].join("\0");
}

export function isParked(conversation: string): boolean {
    return conversation.startsWith(prefix);
}

/** Whether nobody is left who would bring it back. Of another machine's processes only time tells. */
export function isAbandoned(name: string, usedAt: number): boolean {
    const [, , host, pid] = name.split("\0");
    if (host !== hostname()) return Date.now() - usedAt > 7 * day;
    try {
        process.kill(Number(pid), 0);
        return false;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "ESRCH";
    }
}
