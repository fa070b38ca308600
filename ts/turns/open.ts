import {inspect} from "node:util";
import {given, invalid, requireNumber, requireOptions} from "../options.js";
import {requireColdSteps, type ColdStep} from "../policy/cold.js";
import type {PolicyCold} from "../policy/policy-file.js";
import {defaultTurns, type TurnsPolicy} from "../policy/tiers.js";
import {Archive} from "./archive.js";
import {Seal} from "./seal.js";
import {LmdbStore} from "./stores/lmdb.js";
import {RedisStore} from "./stores/redis.js";
import type {SnapshotStore} from "./stores/snapshot-store.js";
import {Turns} from "./turns.js";

/** A field that is left out is as in the policy's `turns`. */
export interface TurnsOptions {
    /** A folder (LMDB), the URL of a Redis or Valkey server, or a store of your own. `close` of the turns closes it. */
    store?: string | SnapshotStore;
    /** 32 bytes, or 64 hexadecimal digits. Everything is encrypted with it. DELTASTORE_KEY if absent. */
    key?: Uint8Array | string;
    /** How many turns a conversation can go back to. */
    history?: number;
    /** Seconds after which a conversation goes that is neither saved nor restored. */
    ttl?: number;
    /** Bytes that the store may hold, parked sequences among them. */
    budget?: number;
    /** What becomes of conversations that nobody saved or restored for so long: steps such as `{after: "7d", codec: "transform"}`, by age. */
    cold?: readonly PolicyCold[];
}

const optionNames = ["store", "key", "history", "ttl", "budget", "cold"] as const satisfies (keyof TurnsOptions)[];

/**
 * @param tidies whether what nobody needs is dropped at once, and conversations are frozen by age from now on
 * @throws DeltaStoreError OPTION_INVALID, STORE_FAILED, STORE_KEY_WRONG
 */
export async function openTurns(options: TurnsOptions, policy: TurnsPolicy | null, tidies = true): Promise<Turns> {
    const {store = policy?.store, key = process.env["DELTASTORE_KEY"] || undefined, ...limits} = checkOptions(options);
    if (store === undefined) throw invalid("Turns need a place: give `store`, a folder or a Redis URL, or set `turns.store` in the policy");
    const {history, ttl, budget, cold} = {...defaultTurns, ...policy, ...limits}, seal = new Seal(key === undefined ? null : keyBytes(key));
    const opened = typeof store === "string" ? await openStore(store) : store;
    const archive = new Archive(opened, seal), turns = new Turns(archive, {history, ttl, budget}, cold);
    try {
        await archive.requireKey();
        if (tidies) await turns.tidy();
        if (tidies) turns.beginCooling();
    } catch (error) {
        if (typeof store === "string") await opened.close();
        throw error;
    }
    return turns;
}

/** @throws DeltaStoreError STORE_FAILED */
export async function openStore(place: string): Promise<SnapshotStore> {
    const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(place)?.[1];
    if (scheme === undefined) return await LmdbStore.open(place);
    if (!["redis", "rediss", "valkey", "valkeys", "unix"].includes(scheme))
        throw invalid(`store is a URL that begins with "${scheme}:"; allowed are a folder, or a URL that begins with redis:, rediss:, valkey:, valkeys: or unix:`);
    return await RedisStore.open({url: place.replace(/^valkey/, "redis")});
}

/** Those that are given. */
function checkOptions(options: unknown): Omit<TurnsOptions, "cold"> & {cold?: readonly ColdStep[]} {
    requireOptions("openTurns", options, optionNames);
    const {store, history, ttl, budget, cold} = options as TurnsOptions;
    requireNumber("history", history, 1);
    if (history !== undefined && !Number.isInteger(history)) throw invalid(`history is ${history}; allowed is a whole number`);
    requireNumber("ttl", ttl, 0);
    requireNumber("budget", budget, 1);
    const isStore = typeof store === "object" ? typeof (store as Partial<SnapshotStore> | null)?.step === "function" : typeof store === "string" && store !== "";
    if (store !== undefined && !isStore) throw invalid(`store is ${inspect(store, {depth: 0})}; allowed are a folder, a Redis URL, or a store`);
    return given({...options as TurnsOptions, cold: cold === undefined ? undefined : requireColdSteps(cold)}) as ReturnType<typeof checkOptions>;
}

/** Errors never show the key. */
function keyBytes(key: unknown): Uint8Array {
    const bytes = typeof key === "string" && /^[0-9a-f]{64}$/i.test(key) ? Buffer.from(key, "hex") : key;
    if (bytes instanceof Uint8Array && bytes.length === 32) return bytes;
    throw invalid("key has another form than 32 bytes or 64 hexadecimal digits; `openssl rand -hex 32` makes one");
}
