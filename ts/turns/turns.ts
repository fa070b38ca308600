import {inspect} from "node:util";
import type {LlamaChatSession, LlamaContextSequence} from "node-llama-cpp";
import {packedOf} from "../context/packed.js";
import {packedLife, requireSequence} from "../context/packed-sequence.js";
import {warnOfEarlierVersion} from "../engine/earlier-versions.js";
import {DeltaStoreError} from "../errors.js";
import {given, invalid, requireNumber, requireOptions} from "../options.js";
import {addonContextOf} from "../runtime/contexts.js";
import {Archive, isLost, notFound, unlessLost} from "./archive.js";
import {isParked} from "./parked-name.js";
import {objectsOf, type Conversation, type TurnEntry} from "./record.js";
import {bringBack, capture, type Capture, type StoredRows} from "./rows.js";
import {saveTurn} from "./save.js";
import {keep, type KeptSession} from "./session.js";
import type {Restored, RestoreOptions, SaveOptions, Turn} from "./turn.js";
import {collect, dropAbandoned, recount, sizeOf, summarize, sweepUnheld, verify, type ConversationSummary} from "./upkeep.js";

/** What makes room in the store. */
export interface Limits {
    /** Turns that a conversation can go back to, its newest one among them. */
    readonly history: number;
    /** Seconds after which a conversation that nobody saved or restored goes; Infinity for never. */
    readonly ttl: number;
    /** Bytes that the store may hold, parked sequences among them, before conversations go, the longest unused first. */
    readonly budget: number;
}

/**
 * The conversations of a store. A conversation is a line of turns, and a turn is what a sequence held when it was saved. Rows that any conversation
 * saved before are not written again. All methods reject with STORE_FAILED if the store fails, and with DISPOSED after `close`.
 */
export class Turns {
    readonly #archive: Archive;
    readonly #limits: Limits;
    /** The last save under way, by conversation. */
    readonly #saving = new Map<string, Promise<unknown>>();
    /** Errors of turns of kept chats that nobody was told of yet. */
    readonly #untold = new Set<{readonly error: unknown}>();

    #closed = false;

    /** @internal Made by `DeltaStore.openTurns`. */
    constructor(archive: Archive, limits: Limits) {
        this.#archive = archive;
        this.#limits = limits;
    }

    /** @internal */
    get closed(): boolean {
        return this.#closed;
    }

    /** Where the turns are. */
    get place(): string {
        return this.#archive.store.place;
    }

    /**
     * Saves what a sequence holds as the conversation's next turn. Evaluations wait only while the newest rows are copied. Tokens that are evaluated
     * meanwhile are not part of the turn. Resolves once the turn is stored: it outlives the process then.
     * @throws DeltaStoreError OPTION_INVALID: no sequence of a packed context, an empty one, or `data` that JSON can't say; POOL_LIMIT_REACHED: no room for
     *     a parked sequence; OUT_OF_MEMORY; MODEL_CHANGED, MODEL_NOT_FOUND: a file of the model is not as it was when it was loaded; DISPOSED
     */
    async save(conversation: string, sequence: LlamaContextSequence, options: SaveOptions = {}): Promise<Turn> {
        return await this.beginSave(conversation, sequence, options).saved;
    }

    /** @internal As `save`. `captured` settles once nothing that becomes of the sequence changes the turn. */
    beginSave(conversation: string, sequence: LlamaContextSequence, options: SaveOptions): {captured: Promise<unknown>; saved: Promise<Turn>} {
        requireName(conversation);
        requireOptions("save", options, ["data"]);
        const data = asJson(options.data ?? null), {history, budget} = this.#limits;
        requireSequence(sequence);
        const {packed} = packedLife(sequence), before = this.#saving.get(conversation), captured = capture(sequence), stored = new Set<string>();
        const saved = (async () => {
            await before?.catch(() => undefined);  // a turn that was asked for later must not become the older one
            const rows = await captured;
            try {
                const turn = await saveTurn(this.#archive, conversation, rows, {data, history, urgent: false, stored});
                await this.#makeRoom(budget, conversation).catch(() => undefined);  // the turn is stored all the same
                return turn;
            } catch (error) {
                await this.sweep(stored).catch(() => undefined);
                throw error;
            } finally {
                rows.end();
            }
        })();
        captured.catch(() => undefined);  // `saved` tells
        this.#saving.set(conversation, saved);
        packed.saving.add(saved);
        const ended = () => {
            packed.saving.delete(saved);
            if (this.#saving.get(conversation) === saved) this.#saving.delete(conversation);
        };
        saved.then(ended, ended);
        return {captured, saved};
    }

    async #makeRoom(budget: number, spared: string): Promise<void> {
        if (budget < Infinity && await this.bytes() > budget) await this.#collect(this.#limits, spared);
    }

    /** @internal Stores a parked sequence's rows. False if the budget has no room for them: no conversation is dropped for parking. */
    async park(name: string, captured: Capture, urgent: boolean, stored: Set<string>): Promise<boolean> {
        const {budget} = this.#limits;
        if (await this.bytes() >= budget) {
            await sweepUnheld(this.#archive);  // of processes that ended while they saved
            if (await this.bytes() >= budget) return false;
        }
        await saveTurn(this.#archive, name, captured, {data: null, history: 1, urgent, stored});
        return await this.bytes() <= budget;
    }

    /** @internal Drops those of the objects that nobody holds. A save under way that needs one stores it again. */
    async sweep(objects: Iterable<string>): Promise<void> {
        await this.#archive.store.step({sweep: [...objects]});
    }

    /** @internal A parked sequence's rows. */
    async parked(name: string): Promise<StoredRows> {
        const {turns} = await this.#archive.find(name);
        return (await this.#archive.load(turns.at(-1)!)).rows;
    }

    /**
     * Replaces what a sequence holds by a turn. A turn that is not the newest lacks its newest rows (a window and up to a block): they are evaluated
     * again. If the newest turn is damaged, the newest whole one is restored. On failure the sequence is as it was. If only the evaluation of
     * the newest rows failed, it holds the tokens before them.
     * @throws DeltaStoreError TURN_NOT_FOUND; TURN_DAMAGED, TURN_FOREIGN: no turn that can be read; TURN_MODEL_MISMATCH; STATE_FORMAT_MISMATCH: the context
     *     keeps rows F16 and the turn's are packed, or the other way round; STATE_TOO_LARGE; POOL_LIMIT_REACHED, OUT_OF_MEMORY; MODEL_CHANGED,
     *     MODEL_NOT_FOUND: as for `save`; OPTION_INVALID; DISPOSED
     */
    async restore(conversation: string, sequence: LlamaContextSequence, options: RestoreOptions = {}): Promise<Restored> {
        requireName(conversation);
        requireOptions("restore", options, ["turn"]);
        requireSequence(sequence);
        packedOf(addonContextOf(sequence.context))?.origin.begin();
        for (;;) {
            const found = await this.#archive.find(conversation), damaged: {turn: string; error: DeltaStoreError}[] = [];
            const choices = options.turn === undefined ? [...found.turns].reverse() : [turnOf(found, options.turn)];
            for (const turn of choices) {
                try {
                    const {record: {data}, rows, lost} = await this.#archive.load(turn), evaluated = await bringBack(sequence, rows);
                    if (rows.describedAdapters !== null)
                        warnOfEarlierVersion(`The conversation ${JSON.stringify(conversation)} in ${this.place}`, this.place, "rope factors for long and short contexts, nor adapters (LoRA) of the same name and size");
                    await this.#touch(conversation).catch(() => undefined);  // a store that can be read only has given what was asked for
                    if (lost !== null) damaged.push({turn: turn.id, error: lost});
                    return {turn, data, evaluated, damaged};
                } catch (error) {
                    if (!isLost(error)) throw error;
                    if (!await this.#has(conversation, turn)) break;
                    damaged.push({turn: turn.id, error});
                }
            }
            if (damaged.length === choices.length) throw damaged[0]!.error;
        }
    }

    /** Whether the conversation still has a turn that was read just now. Else somebody dropped it meanwhile, and it is not damaged. */
    async #has(conversation: string, {id}: TurnEntry): Promise<boolean> {
        return (await this.#archive.read(conversation)).conversation?.turns.some((turn) => turn.id === id) ?? false;
    }

    /**
     * Continues a conversation in a chat session, if there is one of that name, and saves each turn of the session from now on.
     * @throws DeltaStoreError as `restore`, but for TURN_NOT_FOUND; OPTION_INVALID if the session is kept already
     */
    async keep(session: LlamaChatSession, conversation: string): Promise<KeptSession> {
        return await keep(this, session, conversation);
    }

    /** All conversations, the last used first. Those that can't be read are left out. `verify` tells of them. */
    async list(): Promise<ConversationSummary[]> {
        return await summarize(this.#archive);
    }

    /** The newest turn that can be read, and the data that was kept with it. Restores nothing. Null if there is none. */
    async newest(conversation: string): Promise<{turn: Turn; data: unknown} | null> {
        requireName(conversation);
        const turns = (await this.#archive.readAnyhow(conversation)).conversation?.turns ?? [];
        for (const turn of [...turns].reverse()) {
            const record = await this.#archive.record(turn.id).catch(unlessLost(null));
            if (record !== null) return {turn, data: record.data};
        }
        return null;
    }

    /** The turns of a conversation, the newest last. @throws DeltaStoreError TURN_NOT_FOUND */
    async history(conversation: string): Promise<readonly Turn[]> {
        requireName(conversation);
        return (await this.#archive.find(conversation)).turns;
    }

    /**
     * Begins a conversation with the turns of another, up to `turn` or all of them. Nothing is copied. A conversation that had the name is replaced.
     * @throws DeltaStoreError TURN_NOT_FOUND, TURN_DAMAGED, OPTION_INVALID
     */
    async fork(conversation: string, name: string, options: RestoreOptions = {}): Promise<void> {
        for (const one of [conversation, name]) requireName(one);
        requireOptions("fork", options, ["turn"]);
        if (name === conversation) throw invalid(`A conversation can't be forked to its own name, ${JSON.stringify(name)}`);
        const {turn} = options, archive = this.#archive;
        for (;;) {
            const source = await archive.read(conversation), found = source.conversation;
            if (found === undefined) throw notFound(conversation);
            const end = turn === undefined ? found.turns.length : found.turns.indexOf(turnOf(found, turn)) + 1, turns = found.turns.slice(0, end);
            const target = await archive.readAnyhow(name), retain: string[] = [];
            try {
                for (const one of turns) retain.push(...objectsOf(one.id, await archive.record(one.id), one.whole));
            } catch (error) {
                if (isLost(error) && !await archive.isStill(source)) continue;
                throw error;
            }
            const refusal = await archive.write(target, {name, usedAt: Date.now(), turns}, {
                expect: [[source.key, source.raw!]], retain, release: await archive.heldBy(target.conversation?.turns ?? [])
            });
            if (refusal === null) return;
            if (refusal.refused === "missing") throw new DeltaStoreError("TURN_DAMAGED", `${JSON.stringify(conversation)} lacks objects: ${refusal.objects.join(", ")}`);
        }
    }

    /** Deletes a conversation, after the saves of it that are under way. Whether there was one. */
    async delete(conversation: string): Promise<boolean> {
        requireName(conversation);
        await this.#saving.get(conversation)?.catch(() => undefined);
        return await this.remove(conversation);
    }

    /** @internal As `delete`, for any name and without waiting. */
    async remove(conversation: string): Promise<boolean> {
        for (;;) {
            const {key, raw, conversation: found} = await this.#archive.readAnyhow(conversation);
            if (raw === undefined) return false;
            if (await this.#archive.store.step({expect: [[key, raw]], delete: [key], release: await this.#archive.heldBy(found?.turns ?? [])}) === null) return true;
        }
    }

    /** Drops conversations that are past their time. Then drops the longest unused until the store is within its budget. */
    async collectGarbage(limits: {ttl?: number; budget?: number} = {}): Promise<{conversations: number; bytes: number}> {
        requireOptions("collectGarbage", limits, ["ttl", "budget"]);
        for (const [name, value] of Object.entries(limits)) requireNumber(name, value, 0);
        return await this.#collect({...this.#limits, ...given(limits)}, null);
    }

    #collect(limits: Limits, spared: string | null): ReturnType<typeof collect> {
        return collect(this.#archive, limits, (name) => this.remove(name), spared);
    }

    /** @internal As `collectGarbage` where there are limits. Else drops what ended processes have parked, and counts holders where the store lost count. */
    async tidy(): Promise<void> {
        const {ttl, budget} = this.#limits;
        if (ttl < Infinity || budget < Infinity) await this.#collect(this.#limits, null);
        else {
            await recount(this.#archive);
            await dropAbandoned(this.#archive, (name) => this.remove(name));
        }
    }

    /** Reads everything, and tells of what is damaged or missing. */
    async verify(): ReturnType<typeof verify> {
        return await verify(this.#archive);
    }

    /** Bytes that a conversation holds in the store (`all`), and those that no other holds (`own`). @throws DeltaStoreError TURN_NOT_FOUND */
    async sizeOf(conversation: string): ReturnType<typeof sizeOf> {
        requireName(conversation);
        return await sizeOf(this.#archive, conversation);
    }

    /** Bytes that the store holds. */
    async bytes(): Promise<number> {
        return await this.#archive.store.bytes();
    }

    /** @internal Remembers why a turn could not be saved. The function that it returns forgets it, once somebody was told. */
    rememberFailure(error: unknown): () => void {
        const failure = {error};
        this.#untold.add(failure);
        return () => this.#untold.delete(failure);
    }

    /**
     * Waits until all turns so far are saved, and closes the store. Other turns may keep the sessions then. Idempotent.
     * @throws the error of a kept chat's turn that could not be saved, if nobody was told of it; the store is closed all the same
     */
    async close(): Promise<void> {
        this.#closed = true;
        while (this.#saving.size > 0) await Promise.allSettled(this.#saving.values());
        await this.#archive.store.close();
        const [failure] = this.#untold;
        this.#untold.clear();
        if (failure !== undefined) throw failure.error;
    }

    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }

    async #touch(name: string): Promise<void> {
        const entry = await this.#archive.read(name);
        if (entry.conversation !== undefined) await this.#archive.write(entry, {...entry.conversation, usedAt: Date.now()}, {});
    }
}

function turnOf({name, turns}: Conversation, id: unknown): TurnEntry {
    if (typeof id !== "string") throw invalid(`turn is ${inspect(id, {depth: 0})}; allowed is the id of one of the conversation's turns`);
    const turn = turns.find((one) => one.id === id);
    if (turn === undefined) throw new DeltaStoreError("TURN_NOT_FOUND", `The conversation ${JSON.stringify(name)} has no turn ${JSON.stringify(id)}`);
    return turn;
}

function requireName(name: unknown): void {
    if (typeof name !== "string" || name === "")
        throw invalid(`A conversation's name is ${inspect(name, {depth: 0})}; allowed is a string that is not empty`);
    if (/\p{Surrogate}/u.test(name)) throw invalid("A conversation's name has half a character (a lone surrogate), so it can't be told from others");
    if (isParked(name)) throw invalid(`A conversation's name is ${JSON.stringify(name)}; parked sequences have names that begin so`);
}

/** A copy of the data as it is now, by way of JSON. */
function asJson(data: unknown): unknown {
    try {
        const text = JSON.stringify(data);
        if (text === undefined) throw new TypeError("JSON can't say it");
        return JSON.parse(text) as unknown;
    } catch (error) {
        throw new DeltaStoreError("OPTION_INVALID", `data can't be kept: ${(error as Error).message}`, {cause: error});
    }
}
