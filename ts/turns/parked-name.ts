import {randomUUID} from "node:crypto";
import {readFileSync, readlinkSync} from "node:fs";
import {hostname} from "node:os";

const prefix = "\0parked", day = 86_400_000;

/** Empty if it can't be read. */
function read(get: () => string): string {
    try {
        return get().trim();
    } catch {
        return "";
    }
}

/** Names the space of process numbers: a machine since its start, or a container on it. */
const place = [hostname(), read(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8")), read(() => readlinkSync("/proc/self/ns/pid"))].join(" ");

/** When a process began, in ticks since the machine's start (proc_pid_stat(5), field 22). Process numbers alone are used again. */
const startOf = (pid: number | string) => read(() => readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/s, "").split(" ")[20]!);
const ownStart = startOf(process.pid);

/** What a process calls a parked sequence in a store that others may use, too. */
export function parkedName(): string {
    return [prefix, place, process.pid, ownStart, randomUUID()].join("\0");
}

export function isParked(conversation: string): boolean {
    return conversation.startsWith(prefix);
}

/** Whether the process that would bring it back is gone. For processes elsewhere only its age tells. */
export function isAbandoned(name: string, usedAt: number): boolean {
    const [, , where, pid = "", start] = name.split("\0");
    if (where !== place) return Date.now() - usedAt > 7 * day;
    const now = startOf(pid);
    return now === "" || start === "" ? hasEnded(Number(pid)) : now !== start;
}

/** For processes that /proc does not show, such as other users'. */
function hasEnded(pid: number): boolean {
    try {
        process.kill(pid, 0);
        return false;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "ESRCH";
    }
}
