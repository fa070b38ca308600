import {inspect} from "node:util";
import {DeltaStoreError} from "../../errors.js";
import {invalid, requireOptions} from "../../options.js";
import type {ObjectInfo} from "./cells.js";
import {checkName, checkNames} from "./names.js";
import {isScriptUnknown, RedisConnection, type Reply} from "./redis-connection.js";
import {stepArguments, stepScript, stepScriptHash} from "./redis-script.js";
import type {Refusal, SnapshotStore, Step} from "./snapshot-store.js";

export interface RedisStoreOptions {
    /** `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database if need be. */
    readonly url: string;
    /** What the names of the store's keys begin with; `deltastore:` if absent. */
    readonly prefix?: string | undefined;
}

const version = "deltastore 1";
/** Names that are asked for at once, and objects, which may have a megabyte each. */
const batch = 1000, objectBatch = 16;

/**
 * A store on a Redis or Valkey server (6 or later; no cluster), under five keys. What was done outlasts the server as far as its `appendonly` and
 * `save` say, and it must not evict keys: `maxmemory-policy noeviction`, or one for keys that expire.
 */
export class RedisStore implements SnapshotStore {
    readonly place: string;
    readonly #connection: RedisConnection;
    readonly #keys: {readonly entries: string; readonly names: string; readonly objects: string; readonly holdings: string; readonly total: string};
    readonly #underWay = new Set<Promise<unknown>>();
    #closed: Promise<void> | undefined;

    /** @throws DeltaStoreError STORE_FAILED: no connection, no package @redis/client, or another version's store; OPTION_INVALID */
    static async open(options: RedisStoreOptions): Promise<RedisStore> {
        requireOptions("RedisStore.open", options, ["url", "prefix"]);
        const {url, prefix = "deltastore:"} = options;
        for (const [name, value] of Object.entries({url, prefix}))
            if (typeof value !== "string") throw invalid(`${name} is ${inspect(value, {depth: 0})}; allowed is a string`);
        const store = new RedisStore(await RedisConnection.to(url), url, prefix);
        try {
            await store.#begin(`${prefix}version`);
        } catch (error) {
            store.#connection.close();
            throw error;
        }
        return store;
    }

    private constructor(connection: RedisConnection, url: string, prefix: string) {
        this.#connection = connection;
        this.place = `${url.replace(/\/\/[^/]*@/, "//")} (${prefix}*)`;
        this.#keys = {
            entries: `${prefix}entries`, names: `${prefix}names`, objects: `${prefix}objects`, holdings: `${prefix}holdings`, total: `${prefix}bytes`
        };
    }

    async get(key: string): Promise<Uint8Array | undefined> {
        checkName(key);
        return bytesOf(await this.#send("HGET", this.#keys.entries, key));
    }

    async objects(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
        return (await this.#lookUp(this.#keys.objects, names, objectBatch)).map(bytesOf);
    }

    async stored(names: readonly string[]): Promise<Set<string>> {
        const found = await this.#lookUp(this.#keys.holdings, names, batch);
        return new Set(names.filter((_, at) => found[at] !== null));
    }

    async step(step: Step): Promise<Refusal | null> {
        checkNames(step);
        const {entries, names, objects, holdings, total} = this.#keys;
        const rest = ["5", entries, names, objects, holdings, total, ...stepArguments(step)];
        const [outcome, ...about] = (await this.#run(async () => {
            try {
                return await this.#connection.send(["EVALSHA", stepScriptHash, ...rest]);
            } catch (error) {
                if (!isScriptUnknown(error)) throw error;
                return await this.#connection.send(["EVAL", stepScript, ...rest]);
            }
        }) as Buffer[]).map(String);
        if (outcome === "changed") return {refused: "changed", key: about[0]!};
        return outcome === "missing" ? {refused: "missing", objects: about} : null;
    }

    async *keys(prefix: string): AsyncGenerator<string> {
        checkName(prefix);
        const end = Buffer.concat([Buffer.from(`(${prefix}`), Buffer.of(0xff)]);
        let start = `[${prefix}`, page: string[];
        do {
            page = (await this.#send("ZRANGEBYLEX", this.#keys.names, start, end, "LIMIT", "0", String(batch)) as Buffer[]).map(String);
            yield* page;
            start = `(${page.at(-1)}`;
        } while (page.length === batch);
    }

    async *inventory(): AsyncGenerator<ObjectInfo> {
        const seen = new Set<string>();
        let cursor = "0";
        do {
            const [next, pairs] = await this.#send("HSCAN", this.#keys.holdings, cursor, "COUNT", String(batch)) as [Buffer, Buffer[]];
            for (let at = 0; at < pairs.length; at += 2) {
                const name = String(pairs[at]), [holders, bytes] = String(pairs[at + 1]).split(" ").map(Number) as [number, number];
                if (seen.has(name)) continue;
                seen.add(name);
                yield {name, bytes, holders};
            }
            cursor = String(next);
        } while (cursor !== "0");
    }

    async bytes(): Promise<number> {
        return Number(await this.#send("GET", this.#keys.total) ?? 0);
    }

    close(): Promise<void> {
        return this.#closed ??= Promise.allSettled(this.#underWay).then(() => this.#connection.close());
    }

    async #begin(versionKey: string): Promise<void> {
        const get = () => this.#send("GET", versionKey);
        if (await get() === null) await this.#send("SET", versionKey, version, "NX");  // not otherwise: a full server's store can be read and made smaller
        const found = String(await get());
        if (found !== version) throw this.#failure(new Error(`another version of this package wrote it, which this one can't read ("${found}")`));
    }

    async #lookUp(key: string, names: readonly string[], most: number): Promise<Reply[]> {
        this.#checkOpen();
        names.forEach(checkName);
        const found: Reply[] = [];
        for (let at = 0; at < names.length; at += most) found.push(...await this.#send("HMGET", key, ...names.slice(at, at + most)) as Reply[]);
        return found;
    }

    #send(...args: readonly (string | Buffer)[]): Promise<Reply> {
        return this.#run(() => this.#connection.send(args));
    }

    async #run(work: () => Promise<Reply>): Promise<Reply> {
        this.#checkOpen();
        const result = work();
        this.#underWay.add(result);
        try {
            return await result;
        } catch (error) {
            throw this.#failure(error as Error);
        } finally {
            this.#underWay.delete(result);
        }
    }

    #checkOpen(): void {
        if (this.#closed !== undefined) throw new DeltaStoreError("DISPOSED", `The store at ${this.place} was closed.`);
    }

    #failure(cause: Error): DeltaStoreError {
        return new DeltaStoreError("STORE_FAILED", `The store at ${this.place} failed: ${cause.message}.`, {cause});
    }
}

/** A copy: the client's is a part of what came with it. */
function bytesOf(reply: Reply): Uint8Array | undefined {
    return reply === null ? undefined : new Uint8Array(reply as Buffer);
}
