import {setTimeout as pause} from "node:timers/promises";
import {inspect} from "node:util";
import type {LlamaChatSession, LlamaContextSequence} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import type {SnapshotParts} from "../native.js";
import {requireSequence} from "../packed-sequence.js";
import {decodeConversation, decodeRecord, encodeConversation, encodeRecord, objectsOf, type Conversation, type TurnEntry, type TurnRecord} from "./record.js";
import {didYouMean, quoteList} from "../policy/nearest.js";
import {isLost, isParked} from "./parked-name.js";
import type {ParkedRows} from "./parking.js";
import {bringBack, capture, definitionOf, type Capture} from "./rows.js";
import type {Coding, Seal} from "./seal.js";
import {keep, type KeptSession} from "./session.js";
import type {SnapshotStore, Step} from "./stores/snapshot-store.js";

/** Of blocks that are stored together: few, so that other work gets its turns, and a long sequence is not in memory twice. */
const bytesAtOnce = 1 << 20;

/**
 * While something is evaluated, saving rests so many times as long as it works. Where two threads share a core, either runs at half its speed
 * beside the other: then evaluations lose a twentieth.
 */
const restToWork = 9;
/** Milliseconds. */
const longestRest = 1000;

/** Conversations that are opened to find out whether the key is theirs: a damaged one says nothing. */
const mostKeyTries = 8;

/** A turn that a conversation can go back to. */
export type Turn = TurnEntry;

export interface ConversationSummary {
    readonly name: string;
    readonly usedAt: Date;
    readonly turns: number;
    /** Of the newest turn. */
    readonly tokens: number;
}

export interface SaveOptions {
    /** Kept with the turn and given back by `restore`: anything that JSON can say. */
    data?: unknown;
}

export interface RestoreOptions {
    /** The turn to go back to; the newest whole one if absent. */
    turn?: string;
}

export interface Restored {
    readonly turn: Turn;
    readonly data: unknown;
    /** Tokens that had to be evaluated again. */
    readonly evaluated: number;
    /** Newer turns that could not be restored, the newest first, and why. */
    readonly damaged: readonly {readonly turn: string; readonly error: DeltaStoreError}[];
}

/** What makes room in the store. */
export interface Limits {
    /** Turns that a conversation can go back to, its newest one among them. */
    readonly history: number;
    /** Seconds after which a conversation that nobody saved or restored goes; Infinity for never. */
    readonly ttl: number;
    /** Bytes that the store may hold before conversations go, the longest unused first. */
    readonly budget: number;
}

/**
 * Conversations of a store: each a line of turns, and a turn what a sequence held when it was saved. Rows that were saved before, in whatever
 * conversation, are not written again. All methods reject with STORE_FAILED where the store does, and with DISPOSED after `close`.
 */
export class Turns {
    readonly #store: SnapshotStore;
    readonly #seal: Seal;
    readonly #limits: Limits;
    /** The last save of each conversation under way. */
    readonly #saving = new Map<string, Promise<unknown>>();
    /** Objects that were found damaged, and that the next save that has their bytes makes whole. */
    readonly #broken = new Set<string>();

    /** @internal Made by `DeltaStore.openTurns`. */
    constructor(store: SnapshotStore, seal: Seal, limits: Limits) {
        this.#store = store;
        this.#seal = seal;
        this.#limits = limits;
    }

    /** Where the turns are. */
    get place(): string {
        return this.#store.place;
    }

    /**
     * Saves what a sequence holds as the conversation's next turn. Holds up evaluations only as long as it takes to copy the newest rows; what is
     * evaluated meanwhile is not part of the turn. Resolves once the turn is stored, whatever becomes of the process then.
     * @throws DeltaStoreError OPTION_INVALID: no sequence of a packed context, an empty one, or `data` that JSON can't say; OUT_OF_MEMORY; DISPOSED
     */
    async save(conversation: string, sequence: LlamaContextSequence, options: SaveOptions = {}): Promise<Turn> {
        requireName(conversation);
        requireOptions("save", options, ["data"]);
        const {data = null} = options;
        requireData(data);
        requireSequence(sequence);
        const before = this.#saving.get(conversation), capturing = capture(sequence);
        const saving = (async () => {
            await before?.catch(() => undefined);  // a turn that was asked for later is not to be the older one
            const captured = await capturing;
            try {
                return await this.#save(conversation, captured, data, this.#limits.history);
            } finally {
                captured.end();
            }
        })();
        capturing.catch(() => undefined);  // `saving` tells
        this.#saving.set(conversation, saving);
        try {
            return await saving;
        } finally {
            if (this.#saving.get(conversation) === saving) this.#saving.delete(conversation);
        }
    }

    /** @internal Keeps a sequence's rows for its return, in place of what the name stood for. */
    async park(name: string, captured: Capture, urgent: boolean): Promise<Turn> {
        return await this.#save(name, captured, null, 1, urgent);
    }

    /** @internal */
    async parked(name: string): Promise<ParkedRows> {
        const {parts, record: {tokens, adapter, shareable, tier}} = await this.#load((await this.#find(name)).turns.at(-1)!);
        return {parts, captured: {tokens, adapter, shareable, tierDefinition: tier.definition}};
    }

    /** @param urgent somebody waits for the memory: evaluations don't come first */
    async #save(name: string, captured: Capture, data: unknown, history: number, urgent = false): Promise<Turn> {
        let added = 0;
        const bring = async (bytes: readonly Uint8Array[]) => {
            const brought = await this.#bring(bytes, codingOf(captured));
            added += brought.bytes;
            return brought.names;
        };
        const bringAll = async () => {
            const blocks: string[] = [];
            for (let atOnce = 1; blocks.length < captured.blocks; ) {
                const some = await captured.native.snapshotBlocks(captured.handle, blocks.length, Math.min(captured.blocks, blocks.length + atOnce));
                const begin = performance.now();
                blocks.push(...await bring(some));
                atOnce = Math.max(1, Math.floor(bytesAtOnce / some[0]!.length));
                if (!urgent && captured.isBusy()) await pause(Math.min((performance.now() - begin) * restToWork, longestRest));
            }
            return {centres: await bring(captured.centres), blocks, tail: (await bring([captured.tail]))[0]!};
        };
        let parts = await bringAll();
        for (;;) {
            const {key, raw, conversation} = await this.#readAnyhow(name), newest = conversation?.turns.at(-1);
            const record: TurnRecord = {
                parent: newest?.id ?? null, savedAt: Date.now(), tokens: captured.tokens,
                tier: {name: captured.tier.name, definition: definitionOf(captured.tier)}, adapter: captured.adapter, shareable: captured.shareable,
                head: captured.head, ...parts, data
            };
            const bytes = encodeRecord(record), id = this.#seal.nameOf(bytes), turnObject = await this.#seal.sealObject(id, bytes);
            const entry: TurnEntry = {id, savedAt: record.savedAt, tokens: captured.tokens.length, bytes: added + turnObject.length, whole: true};
            const old = conversation?.turns ?? [], dropped = old.slice(0, Math.max(0, old.length + 1 - history));
            const stay = old.slice(dropped.length).map((turn) => ({...turn, whole: false}));
            const refusal = await this.#store.step({
                expect: [[key, raw ?? null]],
                put: [[key, await this.#seal.sealEntry(key, encodeConversation({name, usedAt: record.savedAt, turns: [...stay, entry]}))]],
                objects: [[id, turnObject]],
                retain: objectsOf(id, record, true),
                release: [...await this.#heldBy(dropped), ...await this.#tailsOf(old.slice(dropped.length))]
            });
            if (refusal === null) {
                if (await this.#store.bytes() > this.#limits.budget) await this.#collect(this.#limits, name);
                return entry;
            }
            // Somebody else saved this conversation, or dropped the last turn with an object that was there.
            if (refusal.refused === "missing") parts = await bringAll();
        }
    }

    /** Stores those that the store lacks, and names all. Nobody holds them until the turn does. */
    async #bring(parts: readonly Uint8Array[], coding: Coding): Promise<{names: string[]; bytes: number}> {
        const names = await Promise.all(parts.map((bytes) => this.#seal.nameOfObject(bytes)));
        const stored = await this.#store.stored(names), objects: [string, Uint8Array][] = [];
        for (const [index, name] of names.entries()) {
            if (stored.has(name) && !this.#broken.has(name)) continue;
            const sealed = await this.#seal.sealObject(name, parts[index]!, coding);
            if (this.#broken.has(name)) await this.#heal(name, sealed);
            objects.push([name, sealed]);
        }
        if (objects.length > 0) await this.#store.step({objects});
        return {names, bytes: objects.reduce((sum, [, {length}]) => sum + length, 0)};
    }

    /** Puts an object in place of a damaged one, for all that hold it. Between the two steps, it is missing instead. */
    async #heal(name: string, sealed: Uint8Array): Promise<void> {
        let count = 0;
        for await (const {name: other, holders} of this.#store.inventory()) if (other === name) count = holders;
        const holders = Array<string>(count).fill(name);
        if (count > 0) await this.#store.step({release: holders});
        if (count > 0) await this.#store.step({objects: [[name, sealed]], retain: holders});
        this.#broken.delete(name);
    }

    /**
     * Gives a sequence what a turn held, in place of what it has. A turn that is not the newest lacks its newest rows (a window and up to a block),
     * which are evaluated again. A damaged newest turn falls back to the newest whole one. On failure the sequence is as it was, or, if the
     * evaluation of the newest rows failed, holds what came before them.
     * @throws DeltaStoreError TURN_NOT_FOUND; TURN_DAMAGED, TURN_FOREIGN, STORE_KEY_WRONG: no turn that can be read; TURN_MODEL_MISMATCH; STATE_FORMAT_MISMATCH: the
     *     context keeps rows F16 and the turn's are packed, or the other way round; STATE_TOO_LARGE; POOL_LIMIT_REACHED, OUT_OF_MEMORY; OPTION_INVALID; DISPOSED
     */
    async restore(conversation: string, sequence: LlamaContextSequence, options: RestoreOptions = {}): Promise<Restored> {
        requireOptions("restore", options, ["turn"]);
        requireSequence(sequence);
        for (;;) {
            const found = await this.#find(conversation), damaged: {turn: string; error: DeltaStoreError}[] = [];
            const choices = options.turn === undefined ? [...found.turns].reverse() : [turnOf(found, options.turn)];
            for (const turn of choices) {
                try {
                    const {record, evaluated} = await this.#restore(turn, sequence);
                    await this.#touch(conversation);
                    return {turn, data: record.data, evaluated, damaged};
                } catch (error) {
                    if (!isDamage(error)) throw error;
                    if (!await this.#has(conversation, turn)) break;
                    damaged.push({turn: turn.id, error});
                }
            }
            if (damaged.length === choices.length) throw damaged[0]!.error;
        }
    }

    /** Whether a turn that was read just now is still one of the conversation's: else somebody dropped it meanwhile, and it is no wonder that it is gone. */
    async #has(conversation: string, {id}: TurnEntry): Promise<boolean> {
        return (await this.#read(conversation)).conversation?.turns.some((turn) => turn.id === id) ?? false;
    }

    async #load(turn: TurnEntry): Promise<{record: TurnRecord; parts: SnapshotParts}> {
        const record = await this.#record(turn.id), {head} = record;
        const [centres, blocks, tail] = await Promise.all([
            this.#open(record.centres), this.#open(record.blocks),
            turn.whole ? this.#open([record.tail]).then(([bytes]) => bytes!, () => null) : null  // it can be evaluated again
        ]);
        return {record, parts: {head, centres, blocks, tail}};
    }

    async #restore(turn: TurnEntry, sequence: LlamaContextSequence): Promise<{record: TurnRecord; evaluated: number}> {
        const {record, parts} = await this.#load(turn);
        const {tokens, adapter, shareable, tier} = record;
        return {record, evaluated: await bringBack(sequence, parts, {tokens, adapter, shareable, tierDefinition: tier.definition})};
    }

    /**
     * Continues a conversation in a chat session, if there is one of that name, and saves each turn of the session from now on.
     * @throws DeltaStoreError as `restore`, but for TURN_NOT_FOUND; OPTION_INVALID if the session is kept already
     */
    async keep(session: LlamaChatSession, conversation: string): Promise<KeptSession> {
        return await keep(this, session, conversation);
    }

    /** All conversations, the last used first. Those that can't be read are left out; `verify` tells of them. */
    async list(): Promise<ConversationSummary[]> {
        const summaries: ConversationSummary[] = [];
        for await (const {name, usedAt, turns} of this.#all())
            if (!isParked(name)) summaries.push({name, usedAt: new Date(usedAt), turns: turns.length, tokens: turns.at(-1)!.tokens});
        return summaries.sort((a, b) => b.usedAt.getTime() - a.usedAt.getTime());
    }

    /** The newest turn that can be read and what was kept with it, without restoring it; null if there is none. */
    async newest(conversation: string): Promise<{turn: Turn; data: unknown} | null> {
        const turns = (await this.#readAnyhow(conversation)).conversation?.turns ?? [];
        for (const turn of [...turns].reverse()) {
            const record = await this.#record(turn.id).catch(() => null);
            if (record !== null) return {turn, data: record.data};
        }
        return null;
    }

    /** The turns of a conversation, the newest last. @throws DeltaStoreError TURN_NOT_FOUND */
    async history(conversation: string): Promise<readonly Turn[]> {
        return (await this.#find(conversation)).turns;
    }

    /**
     * Begins a conversation with the turns of another up to `turn`, or all of them. Nothing is copied. Replaces what the name stood for.
     * @throws DeltaStoreError TURN_NOT_FOUND, OPTION_INVALID
     */
    async fork(conversation: string, name: string, options: RestoreOptions = {}): Promise<void> {
        requireName(name);
        requireOptions("fork", options, ["turn"]);
        const {turn} = options;
        if (name === conversation) throw new DeltaStoreError("OPTION_INVALID", `A conversation can't be forked to its own name, ${JSON.stringify(name)}`);
        for (;;) {
            const {key: sourceKey, raw: source, conversation: found} = await this.#read(conversation);
            if (found === undefined) throw notFound(conversation);
            const end = turn === undefined ? found.turns.length : found.turns.indexOf(turnOf(found, turn)) + 1, turns = found.turns.slice(0, end);
            const {key, raw, conversation: old} = await this.#readAnyhow(name), held: string[] = [];
            try {
                for (const one of turns) held.push(...objectsOf(one.id, await this.#record(one.id), one.whole));
            } catch (error) {
                if (isDamage(error) && !await this.#isStill(sourceKey, source)) continue;
                throw error;
            }
            const refusal = await this.#store.step({
                expect: [[sourceKey, source!], [key, raw ?? null]],
                put: [[key, await this.#seal.sealEntry(key, encodeConversation({name, usedAt: Date.now(), turns}))]],
                retain: held, release: old === undefined ? [] : await this.#heldBy(old.turns)
            });
            if (refusal === null) return;
            if (refusal.refused === "missing") throw new DeltaStoreError("TURN_DAMAGED", `${JSON.stringify(conversation)} lacks objects: ${refusal.objects.join(", ")}`);
        }
    }

    /** Whether an entry is as it was read. */
    async #isStill(key: string, raw: Uint8Array | undefined): Promise<boolean> {
        const now = await this.#store.get(key);
        return now !== undefined && raw !== undefined && Buffer.compare(now, raw) === 0;
    }

    /** Whether there was such a conversation. */
    async delete(conversation: string): Promise<boolean> {
        for (;;) {
            const {key, raw, conversation: found} = await this.#readAnyhow(conversation);
            if (raw === undefined) return false;
            const step: Step = {expect: [[key, raw]], delete: [key], release: await this.#heldBy(found?.turns ?? [])};
            if (await this.#store.step(step) === null) return true;
        }
    }

    /** Drops conversations that are past their time or, the longest unused first, above the budget. */
    async collectGarbage(limits: {ttl?: number; budget?: number} = {}): Promise<{conversations: number; bytes: number}> {
        requireOptions("collectGarbage", limits, ["ttl", "budget"]);
        for (const [name, value] of Object.entries(limits))
            if (typeof value !== "number" || !(value >= 0)) throw invalid(`${name} is ${inspect(value, {depth: 0})}; allowed is a number of at least 0`);
        return await this.#collect({...this.#limits, ...limits}, null);
    }

    /** @param spared the conversation that stays in any case */
    async #collect({ttl, budget}: Limits, spared: string | null): Promise<{conversations: number; bytes: number}> {
        const before = await this.#store.bytes();
        let conversations = 0;
        for await (const {name, usedAt} of this.#all()) if (isParked(name) && isLost(name, usedAt) && await this.delete(name)) conversations++;
        const unheld: string[] = [];  // by saves that came to no end, or are under way: those bring them again
        for await (const {name, holders} of this.#store.inventory()) if (holders === 0) unheld.push(name);
        if (unheld.length > 0) await this.#store.step({sweep: unheld});
        const oldest = (await this.list()).reverse();
        for (const {name, usedAt} of oldest) {
            if (Date.now() - usedAt.getTime() <= 1000 * ttl && await this.#store.bytes() <= budget) break;
            if (name !== spared && await this.delete(name)) conversations++;
        }
        return {conversations, bytes: before - await this.#store.bytes()};
    }

    /** Reads everything, and tells what is not as it must be. */
    async verify(): Promise<{conversations: number; turns: number; objects: number; problems: string[]}> {
        const problems: string[] = [], holders = new Map<string, number>(), turns = new Set<string>();
        let conversations = 0;
        for await (const {name, turns: all} of this.#all((error) => problems.push(error.message))) {
            conversations++;
            for (const {id, whole} of all) {
                turns.add(id);
                const record = await this.#record(id).catch((error: unknown) => {
                    problems.push(`Conversation ${JSON.stringify(name)}: ${(error as Error).message}`);
                });
                for (const object of record === undefined ? [id] : objectsOf(id, record, whole)) holders.set(object, (holders.get(object) ?? 0) + 1);
            }
        }
        const stored = new Map<string, number>();
        for await (const {name, holders: count} of this.#store.inventory()) stored.set(name, count);
        for (const name of holders.keys())
            await this.#open([name]).catch((error: unknown) => problems.push((error as Error).message));
        for (const [name, count] of stored)
            if (count !== (holders.get(name) ?? 0)) problems.push(`Object ${name} counts ${count} holders instead of ${holders.get(name) ?? 0}`);
        return {conversations, turns: turns.size, objects: stored.size, problems};
    }

    /** Bytes of what a conversation holds in the store, and of what nobody else does. @throws DeltaStoreError TURN_NOT_FOUND */
    async sizeOf(conversation: string): Promise<{all: number; own: number}> {
        const {turns} = await this.#find(conversation), held = new Map<string, number>();
        for (const name of await this.#heldBy(turns)) held.set(name, (held.get(name) ?? 0) + 1);
        let all = 0, own = 0;
        for await (const {name, bytes, holders} of this.#store.inventory()) {
            const count = held.get(name);
            if (count === undefined) continue;
            all += bytes;
            if (count === holders) own += bytes;
        }
        return {all, own};
    }

    /** Bytes that the store holds. */
    async bytes(): Promise<number> {
        return await this.#store.bytes();
    }

    /** Waits for what is being saved. Idempotent. */
    async close(): Promise<void> {
        await Promise.allSettled(this.#saving.values());
        await this.#store.close();
    }

    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }

    #keyOf(name: string): string {
        return `conversation:${this.#seal.nameOf(Buffer.from(name))}`;
    }

    async #read(name: string): Promise<{key: string; raw: Uint8Array | undefined; conversation: Conversation | undefined}> {
        requireName(name);
        const key = this.#keyOf(name), raw = await this.#store.get(key);
        return {key, raw, conversation: raw === undefined ? undefined : decodeConversation(await named(this.#seal.openEntry(key, raw)))};
    }

    /** @internal @throws DeltaStoreError STORE_KEY_WRONG: there are conversations, and the first of them are of another key */
    async requireKey(): Promise<void> {
        let wrong: unknown, tried = 0;
        for await (const key of this.#store.keys("conversation:")) {
            const raw = await this.#store.get(key);
            if (raw === undefined) continue;
            const error: unknown = await this.#seal.openEntry(key, raw).then(() => undefined, (error: unknown) => error);
            if ((error as Partial<DeltaStoreError> | undefined)?.code !== "STORE_KEY_WRONG") return;
            wrong ??= error;
            if (++tried === mostKeyTries) break;
        }
        if (wrong !== undefined) throw wrong;
    }

    /** A damaged entry is as good as none: whoever saves or deletes replaces it. */
    async #readAnyhow(name: string): Promise<{key: string; raw: Uint8Array | undefined; conversation: Conversation | undefined}> {
        try {
            return await this.#read(name);
        } catch (error) {
            if ((error as DeltaStoreError).code !== "TURN_DAMAGED") throw error;
            const key = this.#keyOf(name);
            return {key, raw: await this.#store.get(key), conversation: undefined};
        }
    }

    async #find(name: string): Promise<Conversation> {
        const {conversation} = await this.#read(name);
        if (conversation === undefined) throw notFound(name);
        return conversation;
    }

    async *#all(unreadable: (error: Error) => void = () => undefined): AsyncIterable<Conversation> {
        for await (const key of this.#store.keys("conversation:")) {
            const raw = await this.#store.get(key);
            if (raw === undefined) continue;
            try {
                yield decodeConversation(await this.#seal.openEntry(key, raw));
            } catch (error) {
                unreadable(error as Error);
            }
        }
    }

    /** @throws DeltaStoreError TURN_DAMAGED */
    async #open(names: readonly string[]): Promise<Uint8Array[]> {
        const objects = await this.#store.objects(names);
        return await Promise.all(objects.map(async (sealed, index) => {
            const name = names[index]!;
            if (sealed === undefined) throw new DeltaStoreError("TURN_DAMAGED", `Object ${name} is missing`);
            try {
                return await named(this.#seal.openObject(name, sealed));
            } catch (error) {
                if (isDamage(error)) this.#broken.add(name);
                throw error;
            }
        }));
    }

    async #record(id: string): Promise<TurnRecord> {
        const [bytes] = await this.#open([id]);
        return decodeRecord(id, bytes!);
    }

    /** What turns hold in the name of a conversation. Of one whose record is lost it can't be known; its objects stay until `verify` tells. */
    async #heldBy(turns: readonly TurnEntry[]): Promise<string[]> {
        const held: string[] = [];
        for (const {id, whole} of turns)
            held.push(...await this.#record(id).then((record) => objectsOf(id, record, whole), unlessDamaged([id])));
        return held;
    }

    async #tailsOf(turns: readonly TurnEntry[]): Promise<string[]> {
        const tails: string[] = [];
        for (const {id, whole} of turns) if (whole) tails.push(...await this.#record(id).then(({tail}) => [tail], unlessDamaged<string[]>([])));
        return tails;
    }

    async #touch(name: string): Promise<void> {
        const {key, raw, conversation} = await this.#read(name);
        if (conversation === undefined) return;
        await this.#store.step({
            expect: [[key, raw!]], put: [[key, await this.#seal.sealEntry(key, encodeConversation({...conversation, usedAt: Date.now()}))]]
        });
    }
}

function codingOf({tier}: Capture): Coding {
    return tier.format === "f16" ? "none" : "entropy";
}

/** Names come from the key, so what is found under its name was stored with this one. */
async function named<T>(opened: Promise<T>): Promise<T> {
    try {
        return await opened;
    } catch (error) {
        if ((error as Partial<DeltaStoreError>).code !== "STORE_KEY_WRONG") throw error;
        throw new DeltaStoreError("TURN_DAMAGED", `${(error as Error).message}; its name is one of the given key's, so it is damaged`, {cause: error});
    }
}

function isDamage(error: unknown): error is DeltaStoreError {
    return error instanceof DeltaStoreError && ["TURN_DAMAGED", "TURN_FOREIGN"].includes(error.code);
}

function unlessDamaged<T>(instead: T): (error: unknown) => T {
    return (error) => {
        if (isDamage(error)) return instead;
        throw error;
    };
}

function invalid(message: string): DeltaStoreError {
    return new DeltaStoreError("OPTION_INVALID", message);
}

function requireOptions(method: string, options: unknown, allowed: readonly string[]): void {
    if (typeof options !== "object" || options === null || Array.isArray(options))
        throw invalid(`${method}'s options are ${inspect(options, {depth: -1})}; allowed is an object with ${quoteList(allowed)}`);
    for (const name of Object.keys(options))
        if (!allowed.includes(name)) throw invalid(`${method} has no option ${JSON.stringify(name)}; allowed are ${quoteList(allowed)}${didYouMean(name, allowed)}`);
}

function notFound(name: string): DeltaStoreError {
    return new DeltaStoreError("TURN_NOT_FOUND", `There is no conversation ${JSON.stringify(name)}`);
}

function turnOf({name, turns}: Conversation, id: string): TurnEntry {
    if (typeof id !== "string") throw invalid(`turn is ${inspect(id, {depth: 0})}; allowed is the id of one of the conversation's turns`);
    const turn = turns.find((one) => one.id === id);
    if (turn === undefined) throw new DeltaStoreError("TURN_NOT_FOUND", `The conversation ${JSON.stringify(name)} has no turn ${JSON.stringify(id)}`);
    return turn;
}

function requireName(name: unknown): void {
    if (typeof name !== "string" || name === "")
        throw invalid(`A conversation's name is ${inspect(name, {depth: 0})}; allowed is a string that is not empty`);
    if (/\p{Surrogate}/u.test(name)) throw invalid("A conversation's name has half a character (a lone surrogate), by which it can't be told from others");
}

function requireData(data: unknown): void {
    try {
        if (JSON.stringify(data) === undefined) throw new TypeError("JSON can't say it");
    } catch (error) {
        throw new DeltaStoreError("OPTION_INVALID", `data can't be kept: ${(error as Error).message}`, {cause: error});
    }
}
