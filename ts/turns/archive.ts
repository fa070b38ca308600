import {inspect} from "node:util";
import type {LlamaContextSequence} from "node-llama-cpp";
import {DeltaStoreError} from "../errors.js";
import {invalid} from "../options.js";
import {KnownBlocks} from "./known-blocks.js";
import {isParked} from "./parked-name.js";
import {
    decodeConversation, decodeRecord, encodeConversation, objectsOf, recordNameOf, type Conversation, type TurnEntry, type TurnRecord
} from "./record.js";
import type {Coding, Seal} from "./seal.js";
import type {Refusal, SnapshotStore, Step} from "./stores/snapshot-store.js";

/** How many conversations are opened to check the key. Several, since a damaged one can't tell. */
const mostKeyTries = 8;

const namesAtOnce = 16;

/** Whose names: those that apps gave, and those of this package. */
type Kind = "conversation" | "parked";

/** A conversation's entry as it was read. */
export interface Entry {
    readonly key: string;
    /** Undefined if there is no entry. */
    readonly raw: Uint8Array | undefined;
    readonly conversation: Conversation | undefined;
}

/** A store's conversations, turns and parts as typed values. They are sealed and named on the way in, opened and checked on the way out. */
export class Archive {
    readonly store: SnapshotStore;
    readonly seal: Seal;
    readonly known = new KnownBlocks();
    /** Objects that were found damaged. The next save that has their bytes writes them again. */
    readonly #broken = new Set<string>();

    constructor(store: SnapshotStore, seal: Seal) {
        this.store = store;
        this.seal = seal;
    }

    #keyOf(name: string): string {
        const kind: Kind = isParked(name) ? "parked" : "conversation";
        return `${kind}:${this.seal.nameOf(Buffer.from(name))}`;
    }

    async #decode(key: string, raw: Uint8Array): Promise<Conversation> {
        return decodeConversation(await named(this.seal.openEntry(key, raw)));
    }

    async read(name: string): Promise<Entry> {
        const key = this.#keyOf(name), raw = await this.store.get(key);
        return {key, raw, conversation: raw === undefined ? undefined : await this.#decode(key, raw)};
    }

    /** A damaged entry counts as none. Saving and deleting replace it. */
    async readAnyhow(name: string): Promise<Entry> {
        const key = this.#keyOf(name), raw = await this.store.get(key);
        return {key, raw, conversation: raw === undefined ? undefined : await this.#decode(key, raw).catch(unlessLost(undefined))};
    }

    /** @throws DeltaStoreError TURN_NOT_FOUND, too */
    async find(name: string): Promise<Conversation> {
        const {conversation} = await this.read(name);
        if (conversation === undefined) throw notFound(name);
        return conversation;
    }

    /** All there are, of both kinds. @throws DeltaStoreError as `find` for one that can't be read; STORE_KEY_WRONG */
    async *entries(): AsyncIterable<{readonly key: string; readonly raw: Uint8Array; readonly conversation: Conversation}> {
        for (const kind of ["conversation", "parked"] satisfies Kind[]) for await (const key of this.store.keys(`${kind}:`)) {
            const raw = await this.store.get(key);
            if (raw !== undefined) yield {key, raw, conversation: decodeConversation(await this.seal.openEntry(key, raw))};
        }
    }

    async *all(kind: Kind, unreadable: (error: Error) => void = () => undefined): AsyncIterable<Conversation> {
        for await (const key of this.store.keys(`${kind}:`)) {
            const raw = await this.store.get(key);
            if (raw === undefined) continue;
            try {
                yield decodeConversation(await this.seal.openEntry(key, raw));
            } catch (error) {
                unreadable(error as Error);
            }
        }
    }

    /** Whether an entry is still as it was read. */
    async isStill({key, raw}: Entry): Promise<boolean> {
        const now = await this.store.get(key);
        return now !== undefined && raw !== undefined && Buffer.compare(now, raw) === 0;
    }

    /** A step that replaces the entry that was read by a conversation. It is refused if the entry has changed. */
    async write({key, raw}: Entry, conversation: Conversation, step: Step): Promise<Refusal | null> {
        return await this.store.step({
            ...step, expect: [[key, raw ?? null], ...step.expect ?? []], put: [[key, await this.seal.sealEntry(key, encodeConversation(conversation))]]
        });
    }

    /** @throws DeltaStoreError TURN_DAMAGED */
    async open(names: readonly string[]): Promise<Uint8Array[]> {
        const opened: Uint8Array[] = [];
        const ask = (begin: number) => {
            const coming = begin < names.length ? this.store.objects(names.slice(begin, begin + namesAtOnce)) : Promise.resolve([]);
            coming.catch(() => undefined);  // it is told where it is awaited, unless something else fails first
            return coming;
        };
        let coming = ask(0);
        for (let begin = 0; begin < names.length; begin += namesAtOnce) {
            const sealed = await coming;
            coming = ask(begin + namesAtOnce);  // read while these are checked
            opened.push(...await Promise.all(sealed.map((bytes, index) => this.#open(names[begin + index]!, bytes))));
        }
        return opened;
    }

    async #open(name: string, sealed: Uint8Array | undefined): Promise<Uint8Array> {
        if (sealed === undefined) throw new DeltaStoreError("TURN_DAMAGED", `Object ${name} is missing`);
        try {
            return await named(this.seal.openObject(name, sealed));
        } catch (error) {
            if (isLost(error)) this.#broken.add(name);
            throw error;
        }
    }

    /** @throws DeltaStoreError TURN_DAMAGED, TURN_FOREIGN */
    async record(turn: TurnEntry): Promise<TurnRecord> {
        const [bytes] = await this.open([recordNameOf(turn)]);
        return decodeRecord(turn.id, bytes!);
    }

    /** Names that the store should have for a sequence's blocks. */
    knownBlocks(sequence: LlamaContextSequence, keys: readonly string[]): (string | undefined)[] {
        return this.known.namesOf(sequence, keys).map((name) => name === undefined || this.#broken.has(name) ? undefined : name);
    }

    /** The objects that a turn holds. One whose record is lost tells none; its objects stay until `verify` finds them. */
    async heldByTurn(turn: TurnEntry): Promise<string[]> {
        const name = recordNameOf(turn);
        return await this.record(turn).then((record) => objectsOf(name, record, turn.whole), unlessLost([name]));
    }

    async heldBy(turns: readonly TurnEntry[]): Promise<string[]> {
        const held: string[] = [];
        for (const turn of turns) held.push(...await this.heldByTurn(turn));
        return held;
    }

    async tailsOf(turns: readonly TurnEntry[]): Promise<string[]> {
        const tails: string[] = [];
        for (const turn of turns) if (turn.whole) tails.push(...await this.record(turn).then(({tail}) => tail === null ? [] : [tail], unlessLost<string[]>([])));
        return tails;
    }

    /**
     * Names all blocks, and stores those that the store lacks. Nobody holds them until a turn does.
     * @param stored gets the names of those that are stored
     */
    async bring(parts: readonly Uint8Array[], coding: Coding, stored: Set<string>): Promise<{names: string[]; bytes: number}> {
        const names = await Promise.all(parts.map((bytes) => this.seal.nameOfObject(bytes)));
        const there = await this.store.stored(names), objects: [string, Uint8Array][] = [], replace: [string, Uint8Array][] = [];
        for (const [index, name] of names.entries()) {
            if (there.has(name) && !this.#broken.has(name)) continue;
            const sealed = await this.seal.sealObject(name, parts[index]!, coding);
            (there.has(name) ? replace : objects).push([name, sealed]);
        }
        const brought = [...objects, ...replace];
        for (const [name] of objects) stored.add(name);
        if (brought.length > 0) await this.store.step({objects, replace});
        for (const [name] of brought) this.#broken.delete(name);
        return {names, bytes: brought.reduce((sum, [, {length}]) => sum + length, 0)};
    }

    /** @throws DeltaStoreError STORE_KEY_WRONG: the first conversations were stored with another key */
    async requireKey(): Promise<void> {
        let wrong: unknown, tried = 0;
        for await (const key of this.store.keys("conversation:")) {
            const raw = await this.store.get(key);
            if (raw === undefined) continue;
            const error: unknown = await this.seal.openEntry(key, raw).then(() => undefined, (error: unknown) => error);
            if ((error as Partial<DeltaStoreError> | undefined)?.code !== "STORE_KEY_WRONG") return;
            wrong ??= error;
            if (++tried === mostKeyTries) break;
        }
        if (wrong !== undefined)
            throw new DeltaStoreError("STORE_KEY_WRONG", `The turns in ${this.store.place} have another key than openTurns' \`key\` or DELTASTORE_KEY: ${(wrong as Error).message}`, {cause: wrong});
    }
}

/** Names are made with the key. So an object that is found under its name was stored with this key. */
async function named<T>(opened: Promise<T>): Promise<T> {
    try {
        return await opened;
    } catch (error) {
        if ((error as Partial<DeltaStoreError>).code !== "STORE_KEY_WRONG") throw error;
        throw new DeltaStoreError("TURN_DAMAGED", `${(error as Error).message}; its name is one of the given key's, so it is damaged`, {cause: error});
    }
}

/** Whether an error says that stored bytes are lost or damaged, not that the store fails to answer. */
export function isLost(error: unknown): error is DeltaStoreError {
    return error instanceof DeltaStoreError && ["TURN_DAMAGED", "TURN_FOREIGN", "TURN_NOT_FOUND"].includes(error.code);
}

export function unlessLost<T>(instead: T): (error: unknown) => T {
    return (error) => {
        if (isLost(error)) return instead;
        throw error;
    };
}

export function notFound(name: string): DeltaStoreError {
    return new DeltaStoreError("TURN_NOT_FOUND", `There is no conversation ${JSON.stringify(name)}`);
}

/** @throws DeltaStoreError TURN_NOT_FOUND, OPTION_INVALID */
export function turnOf({name, turns}: Conversation, id: unknown): TurnEntry {
    if (typeof id !== "string") throw invalid(`turn is ${inspect(id, {depth: 0})}; allowed is the id of one of the conversation's turns`);
    const turn = turns.find((one) => one.id === id);
    if (turn === undefined) throw new DeltaStoreError("TURN_NOT_FOUND", `The conversation ${JSON.stringify(name)} has no turn ${JSON.stringify(id)}`);
    return turn;
}
