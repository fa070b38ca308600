import {createHash} from "node:crypto";
import {once} from "node:events";
import {existsSync, realpathSync} from "node:fs";
import {mkdtemp, readdir, rename, rm} from "node:fs/promises";
import {createServer, type Server} from "node:net";
import {hostname} from "node:os";
import path from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {makeFolder} from "../make-folder.js";

const retryMs = 100;

/**
 * Has `build` make the folder `target` unless `isWhole()`. One process or worker thread of this machine builds, in a folder beside it. The
 * others wait, and then find it whole. `target` appears by a rename, so nobody sees a part of it.
 * @param build makes the contents in a folder inside the given one, and returns that folder
 * @throws what `build` throws, and errors of the file system
 */
export async function buildOnce(target: string, isWhole: () => boolean, build: (workFolder: string) => Promise<string>): Promise<void> {
    const parent = path.dirname(target);
    await makeFolder(parent);
    const lock = await acquireLock(target);
    try {
        if (isWhole()) return;
        // The host's name is in it because the lock holds on one machine only, and containers may share the folder.
        const prefix = `${path.basename(target)}.building-${hostname()}-`;
        for (const name of await readdir(parent))  // of builds that were killed
            if (name.startsWith(prefix)) await remove(path.join(parent, name)).catch(() => undefined);
        const work = await mkdtemp(path.join(parent, prefix));
        try {
            const made = await build(work);
            if (existsSync(target)) await rename(target, path.join(work, "replaced"));
            await rename(made, target);
        } finally {
            await remove(work).catch(() => undefined);
        }
    } finally {
        lock.close();
    }
}

const remove = (folder: string) => rm(folder, {recursive: true, force: true, maxRetries: 3});

/** The lock is a socket in Linux's abstract namespace. The kernel frees its name when its owner ends, in whatever way. */
async function acquireLock(target: string): Promise<Server> {
    const place = path.join(realpathSync(path.dirname(target)), path.basename(target));
    const name = `\0llama-deltastore-${createHash("sha256").update(place).digest("hex")}`;
    for (;;) {
        const server = createServer((connection) => connection.destroy());
        try {
            server.listen({path: name, exclusive: true});  // workers of node:cluster would share it otherwise
            await once(server, "listening");
            return server;
        } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
            await sleep(retryMs);
        }
    }
}
