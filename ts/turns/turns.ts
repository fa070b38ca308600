import type {LlamaChatSession, LlamaContextSequence} from "node-llama-cpp";
import {packedOf} from "../context/packed.js";
import {packedLife, requireSequence} from "../context/packed-sequence.js";
import {given, invalid, requireNumber, requireOptions} from "../options.js";
import {codecOf} from "../policy/codecs.js";
import type {ColdStep} from "../policy/cold.js";
import {addonContextOf} from "../runtime/contexts.js";
import {Archive} from "./archive.js";
import {asJson, requireName} from "./checks.js";
import type {Aged} from "./cold/aging.js";
import {Books} from "./cold/books.js";
import {ColdTurns} from "./cold/cold-turns.js";
import {attachedEngine} from "./cold/engine.js";
import type {Freezing} from "./cold/freeze.js";
import {forkConversation} from "./fork.js";
import {loadTurn} from "./load.js";
import {newestTurn} from "./newest.js";
import {restoreTurn} from "./restore.js";
import {capture, type Capture, type StoredRows} from "./rows.js";
import {saveTurn} from "./save.js";
import {keep, type KeptSession} from "./session.js";
import {ownBytes, sizeOf} from "./sizes.js";
import type {FreezeOptions, Restored, RestoreOptions, SaveOptions, Turn} from "./turn.js";
import {collect, dropAbandoned, recount, summarize, sweepUnheld, type ConversationSummary} from "./upkeep.js";
import {verify} from "./verify.js";

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
    readonly #books: Books;
    readonly #cold: ColdTurns;
    /** The last save under way, by conversation. */
    readonly #saving = new Map<string, Promise<unknown>>();
    /** Errors of turns of kept chats that nobody was told of yet. */
    readonly #untold = new Set<{readonly error: unknown}>();

    #closed = false;

    /** @internal Made by `DeltaStore.openTurns`. @param cold what becomes of conversations by their age, see `beginCooling` */
    constructor(archive: Archive, limits: Limits, cold: readonly ColdStep[]) {
        this.#archive = archive;
        this.#limits = limits;
        this.#books = new Books(archive);
        this.#cold = new ColdTurns(archive, this.#books, cold);
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
        return (await loadTurn(this.#archive, this.#books, turns.at(-1)!)).rows;
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
        return await restoreTurn(this.#archive, this.#books, conversation, sequence, options.turn);
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
        return await newestTurn(this.#archive, conversation);
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
        await forkConversation(this.#archive, conversation, name, options.turn);
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

    /** Reads everything, and tells of what is damaged or missing. @param engine what thaws frozen rows: the one that `attach` has loaded, if absent */
    async verify(engine = attachedEngine): ReturnType<typeof verify> {
        return await verify(this.#archive, this.#books, engine);
    }

    /**
     * Freezes all turns of a conversation: their rows are stored in a form that is much smaller, and loses a little, or not at all. Restoring thaws them. Rows
     * that a conversation holds, too, which is not cold, stay as they are. It gives way to evaluations. Resolves once that is stored. Nothing is lost,
     * whatever is saved or restored meanwhile.
     * @throws DeltaStoreError TURN_NOT_FOUND, TURN_DAMAGED; OPTION_INVALID: options, or a conversation that is frozen with another codec, unless the codec is
     *     `tokens`; CODEC_UNTRAINED; BINARY_MISSING
     */
    async freeze(conversation: string, options: FreezeOptions): Promise<Freezing> {
        requireName(conversation);
        return await this.#cold.freeze(conversation, codecOf("freeze", options));
    }

    /** @internal Freezes what its age makes due. @param steps in place of those that the turns were opened with */
    async freezeByAge(steps?: readonly ColdStep[]): Promise<Aged> {
        return await this.#cold.freezeByAge(steps);
    }

    /** @internal Begins to freeze by age, until `close`. */
    beginCooling(times?: {first: number; every: number}): void {
        this.#cold.begin(times);
    }

    /** Bytes that a conversation holds in the store (`all`), and those that no other holds (`own`). @throws DeltaStoreError TURN_NOT_FOUND */
    async sizeOf(conversation: string): ReturnType<typeof sizeOf> {
        requireName(conversation);
        return await sizeOf(this.#archive, conversation);
    }

    /** @internal Bytes that only it holds, of each conversation. */
    async ownBytes(): Promise<Map<string, number>> {
        return await ownBytes(this.#archive);
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
        const cold = this.#cold.close();
        while (this.#saving.size > 0) await Promise.allSettled(this.#saving.values());
        await cold;
        await this.#archive.store.close();
        const [failure] = this.#untold;
        this.#untold.clear();
        if (failure !== undefined) throw failure.error;
    }

    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }
}
