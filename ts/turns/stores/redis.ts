import {randomUUID} from "node:crypto";
import {inspect} from "node:util";
import {DeltaStoreError} from "../../errors.js";
import {invalid, requireOptions} from "../../options.js";
import {quoteList} from "../../nearest.js";
import type {ObjectInfo} from "./cells.js";
import {checkName, checkNames} from "./names.js";
import {RedisConnection, type Reply} from "./redis-connection.js";
import {Eviction, reactions, type EvictionReaction} from "./redis-eviction.js";
import type {RedisScript} from "./redis-keys.js";
import {inventoryScript, keysScript, livesScript, storedScript, totalScript} from "./redis-looks.js";
import {mendScript, recountArguments, recountScript} from "./redis-mend.js";
import {stepArguments, stepScript} from "./redis-script.js";
import type {Held, Holding, Refusal, SnapshotStore, Step} from "./snapshot-store.js";

export interface RedisStoreOptions {
    /** `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database if need be. */
    readonly url: string;
    /** What the names of the store's keys begin with; `deltastore:` if absent. */
    readonly prefix?: string | undefined;
    /** Whether to warn of a server that evicts keys, or to refuse it; "warn" if absent. */
    readonly onEviction?: EvictionReaction | undefined;
}

const version = "deltastore 1";
/** Names that are asked for at once, and objects, which may have a megabyte each. */
const batch = 1000, objectBatch = 16;
/** Times that a step or a look is tried on a store that is torn again each time, and a count whose entries change meanwhile. */
const mostTries = 3;

/**
 * A store on a Redis or Valkey server (6 or later; no cluster), under five keys. What was done outlasts the server as far as its `appendonly` and
 * `save` say. It should not evict keys (`maxmemory-policy noeviction`, or one for keys that expire). One that does may drop any of the five: what
 * is gone is told as gone, a step that was done was done, and what is brought again is stored again.
 */
export class RedisStore implements SnapshotStore {
    readonly place: string;
    readonly #connection: RedisConnection;
    readonly #eviction: Eviction;
    readonly #keys: {readonly entries: string; readonly names: string; readonly objects: string; readonly holdings: string; readonly total: string};
    readonly #underWay = new Set<Promise<unknown>>();
    /** Of the entries and the objects that the last step was done to. */
    #lives: string | undefined;
    #closed: Promise<void> | undefined;

    /**
     * Warns (DELTASTORE_STORE_EVICTS) if the server evicts keys.
     * @throws DeltaStoreError STORE_FAILED: no connection, no package @redis/client, another version's store, or, with `onEviction: "error"`, a server
     *     that evicts keys; OPTION_INVALID
     */
    static async open(options: RedisStoreOptions): Promise<RedisStore> {
        requireOptions("RedisStore.open", options, ["url", "prefix", "onEviction"]);
        const {url, prefix = "deltastore:", onEviction = "warn"} = options;
        for (const [name, value] of Object.entries({url, prefix}))
            if (typeof value !== "string") throw invalid(`${name} is ${inspect(value, {depth: 0})}; allowed is a string`);
        if (!reactions.includes(onEviction)) throw invalid(`onEviction is ${inspect(onEviction, {depth: 0})}; allowed are ${quoteList(reactions)}`);
        const store = new RedisStore(await RedisConnection.to(url), url, prefix, onEviction);
        try {
            await store.#run(() => store.#begin(`${prefix}version`));
        } catch (error) {
            store.#connection.close();
            throw error;
        }
        return store;
    }

    private constructor(connection: RedisConnection, url: string, prefix: string, onEviction: EvictionReaction) {
        this.#connection = connection;
        this.place = `${url.replace(/\/\/[^/]*@/, "//")} (${prefix}*)`;
        this.#eviction = new Eviction(connection, this.place, onEviction);
        this.#keys = {
            entries: `${prefix}entries`, names: `${prefix}names`, objects: `${prefix}objects`, holdings: `${prefix}holdings`, total: `${prefix}bytes`
        };
    }

    async get(key: string): Promise<Uint8Array | undefined> {
        checkName(key);
        return bytesOf(await this.#run(() => this.#connection.send(["HGET", this.#keys.entries, key])));
    }

    async objects(names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
        const found = await this.#inBatches(names, this.#eviction.isEvicting ? 1 : objectBatch, (some) =>
            this.#eviction.alone(() => this.#connection.send(["HMGET", this.#keys.objects, ...some])));
        const objects = found.map(bytesOf);
        this.#eviction.saw(objects.map((bytes) => bytes?.length ?? 0));
        return objects;
    }

    async stored(names: readonly string[]): Promise<Map<string, Holding>> {
        const found = await this.#inBatches(names, batch, (some) => this.#script(storedScript, some));
        return new Map(names.flatMap((name, at) => found[at] === null ? [] : [[name, holdingOf(found[at])] as const]));
    }

    async step(step: Step): Promise<Refusal | null> {
        checkNames(step);
        return await this.#run(() => this.#eviction.alone(async () => {
            await this.#eviction.requireRoom(step);
            const [outcome, ...about] = (await this.#whole(stepScript, stepArguments(step))).map(String);
            if (outcome === "changed") return {refused: "changed", key: about[0]!};
            if (outcome === "missing") {
                await this.#eviction.learn();  // somebody swept them, or the server has begun to evict
                return {refused: "missing", objects: about};
            }
            await this.#requireDone(step, about as [string, string]);
            return null;
        }));
    }

    async *keys(prefix: string): AsyncGenerator<string> {
        checkName(prefix);
        const end = Buffer.concat([Buffer.from(`(${prefix}`), Buffer.of(0xff)]);
        let start = `[${prefix}`, page: string[];
        do {
            const [, keys] = await this.#look(keysScript, [start, end, String(batch)]);
            page = (keys as Buffer[]).map(String);
            yield* page;
            start = `(${page.at(-1)}`;
        } while (page.length === batch);
    }

    async *inventory(): AsyncGenerator<ObjectInfo> {
        const seen = new Set<string>();
        let cursor = "0";
        do {
            const [, trust, next, items] = await this.#look(inventoryScript, [cursor, String(batch)]) as [Buffer, Buffer, Buffer, Buffer[]];
            for (let at = 0; at < items.length; at += 2) {
                const name = String(items[at]), {bytes, holders} = holdingOf(items[at + 1]!);
                if (seen.has(name)) continue;
                seen.add(name);
                yield {name, bytes, holders: String(trust) === "lost" ? Infinity : holders};
            }
            cursor = String(next);
        } while (cursor !== "0");
    }

    async bytes(): Promise<number> {
        const [, , bytes] = await this.#look(totalScript);
        return Number(bytes);
    }

    async recount(count: () => Promise<Held | null>): Promise<void> {
        for (let tries = 0; tries < mostTries; tries++) {
            const [, trust] = await this.#look(totalScript), held = String(trust) === "right" ? null : await count();
            if (held === null) return;
            const [outcome] = await this.#look(recountScript, recountArguments(held));
            if (String(outcome) === "done") return;
        }
    }

    close(): Promise<void> {
        return this.#closed ??= Promise.allSettled(this.#underWay).then(() => this.#connection.close());
    }

    async #begin(versionKey: string): Promise<void> {
        const get = () => this.#connection.send(["GET", versionKey]);
        if (await get() === null) await this.#connection.send(["SET", versionKey, version, "NX"]);  // not otherwise: a full server's store can be read and made smaller
        const found = String(await get());
        if (found !== version) throw new Error(`another version of this package wrote it, which this one can't read ("${found}")`);
        await this.#eviction.learn();
    }

    async #inBatches(names: readonly string[], most: number, ask: (names: readonly string[]) => Promise<Reply>): Promise<Reply[]> {
        this.#checkOpen();
        names.forEach(checkName);
        const found: Reply[] = [];
        for (let at = 0; at < names.length; at += most) found.push(...await this.#run(() => ask(names.slice(at, at + most))) as Reply[]);
        return found;
    }

    #look(script: RedisScript, args: readonly (string | Buffer)[] = []): Promise<Reply[]> {
        return this.#run(() => this.#whole(script, args));
    }

    /** What a script gives once the store is whole. */
    async #whole(script: RedisScript, args: readonly (string | Buffer)[]): Promise<Reply[]> {
        for (let tries = 0; tries < mostTries; tries++) {
            const reply = await this.#script(script, args);
            if (String(reply[0]) !== "torn") return reply;
            const [found] = await this.#script(mendScript, [randomUUID()]);
            if (String(found) === "torn" || this.#lives !== undefined) await this.#eviction.learn();
        }
        throw new Error(`the server evicts what it is given, ${mostTries} times in a row`);
    }

    /** @throws if the server has dropped what a step has written or retained: keys are dropped as a whole, and have other lives then */
    async #requireDone({put, retain}: Step, [entriesLife, objectsLife]: [string, string]): Promise<void> {
        const lives = `${entriesLife} ${objectsLife}`, isTorn = this.#lives !== undefined && this.#lives !== lives;
        this.#lives = lives;
        if (isTorn) await this.#eviction.learn();  // somebody else has mended it
        const hasPut = put !== undefined && put.length > 0, hasRetained = retain !== undefined && retain.length > 0;
        if (!this.#eviction.mayEvict || !(hasPut || hasRetained)) return;
        const [entriesNow, objectsNow] = (await this.#script(livesScript, [])).map(String);  // at once: it may evict before each command
        if ((hasPut && entriesNow !== entriesLife) || (hasRetained && objectsNow !== objectsLife))
            throw new Error("its server evicts keys, and has evicted what was just written; set maxmemory-policy noeviction, or give it more memory");
    }

    #script(script: RedisScript, args: readonly (string | Buffer)[]): Promise<Reply[]> {
        const {entries, names, objects, holdings, total} = this.#keys;
        return this.#connection.run(script, [entries, names, objects, holdings, total], args);
    }

    async #run<T>(work: () => Promise<T>): Promise<T> {
        this.#checkOpen();
        const result = work();
        this.#underWay.add(result);
        try {
            return await result;
        } catch (error) {
            if (error instanceof DeltaStoreError) throw error;
            throw new DeltaStoreError("STORE_FAILED", `The store at ${this.place} failed: ${(error as Error).message}.`, {cause: error});
        } finally {
            this.#underWay.delete(result);
        }
    }

    #checkOpen(): void {
        if (this.#closed !== undefined) throw new DeltaStoreError("DISPOSED", `The store at ${this.place} was closed.`);
    }
}

/** Of `holders bytes`, as scripts keep it. */
function holdingOf(text: Reply | undefined): Holding {
    const [holders, bytes] = String(text).split(" ").map(Number) as [number, number];
    return {bytes, holders};
}

/** A copy: the client's is a part of what came with it. */
function bytesOf(reply: Reply): Uint8Array | undefined {
    return reply === null ? undefined : new Uint8Array(reply as Buffer);
}
