import {setImmediate} from "node:timers/promises";
import type {Test} from "tap";
import {dist} from "./paths.js";
import {startRedis} from "./redis-server.js";

const {RedisConnection} = await import(dist("turns/stores/redis-connection.js")) as typeof import("../../dist/turns/stores/redis-connection.js");

/** The keys of a store: a server that evicts can drop any of them. */
export const keys = ["entries", "names", "objects", "holdings", "bytes"] as const;
export type Key = typeof keys[number];

/** Every set of at least one key. */
export const someKeys: readonly (readonly Key[])[] = Array.from({length: 2 ** keys.length - 1}, (_, at) => keys.filter((_, bit) => ((at + 1) >> bit) % 2 === 1));

export interface Server {
    readonly url: string;
    /** Sends a command as another client. @returns its answer as text */
    tell(...command: string[]): Promise<string>;
    tellBytes(...command: readonly (string | Buffer)[]): Promise<unknown>;
    drop(...keys: readonly Key[]): Promise<void>;
    evicted(): Promise<number>;
    /** Writes until the server has dropped this key of the store. */
    fillUntilGone(key: Key): Promise<void>;
}

export async function startServer(t: Test, ...options: readonly string[]): Promise<Server> {
    const {url, stop} = await startRedis(...options), connection = await RedisConnection.to(url);
    t.teardown(() => {
        connection.close();
        return stop();
    });
    const tell = async (...command: string[]) => String(await connection.send(command));
    return {
        url, tell, tellBytes: (...command) => connection.send(command),
        async drop(...keys) {
            await tell("DEL", ...keys.map((key) => `deltastore:${key}`));
        },
        async evicted() {
            return Number(/^evicted_keys:(\d+)/m.exec(await tell("INFO", "stats"))![1]);
        },
        async fillUntilGone(key) {
            const value = "x".repeat(500_000);
            for (let at = 0; await tell("EXISTS", `deltastore:${key}`) === "1"; at++) {
                if (at > 500) throw new Error(`${key} is not evicted`);
                await tell("SET", `other ${at}`, value);
            }
        }
    };
}

export const evicting = (limit: string) => ["--maxmemory", limit, "--maxmemory-policy", "allkeys-lru"];

/** The warnings of servers that evict, up to now. */
export function warningsOf(t: Test): () => Promise<string[]> {
    const found: string[] = [], listener = ({code, message}: Error & {code?: string}) => {
        if (code === "DELTASTORE_STORE_EVICTS") found.push(message);
    };
    process.on("warning", listener);
    t.teardown(() => process.off("warning", listener));
    return async () => {
        await setImmediate();
        return found.splice(0);
    };
}
