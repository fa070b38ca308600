import {randomUUID} from "node:crypto";
import {readFileSync, readlinkSync} from "node:fs";
import {hostname} from "node:os";

const prefix = "\0parked", day = 86_400_000;

/** Empty if it is not to be had. */
function read(get: () => string): string {
    try {
        return get().trim();
    } catch {
        return "";
    }
}

/** Where process numbers mean the same: a machine since it was started, or a container of it. */
const place = [hostname(), read(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8")), read(() => readlinkSync("/proc/self/ns/pid"))].join(" ");

/** When a process began, in ticks since the machine did (proc_pid_stat(5), field 22); numbers are given again. */
const startOf = (pid: number | string) => read(() => readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/s, "").split(" ")[20]!);
const ownStart = startOf(process.pid);

/** What a process calls a parked sequence in a store that others may use, too. */
export function parkedName(): string {
    return [prefix, place, process.pid, ownStart, randomUUID()].join("\0");
}

export function isParked(conversation: string): boolean {
    return conversation.startsWith(prefix);
}

/** Whether nobody is left who would bring it back. Of processes elsewhere only time tells. */
export function isAbandoned(name: string, usedAt: number): boolean {
    const [, , where, pid = "", start] = name.split("\0");
    if (where !== place) return Date.now() - usedAt > 7 * day;
    const now = startOf(pid);
    return now === "" || start === "" ? hasEnded(Number(pid)) : now !== start;
}

/** Of what /proc does not show: other users' processes, for one. */
function hasEnded(pid: number): boolean {
    try {
        process.kill(pid, 0);
        return false;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "ESRCH";
    }
}
