import {Ajv} from "ajv";
import {DeltaStoreError} from "../errors.js";
import type {CodecName, ColdCodec} from "../policy/codecs.js";

/** How rows of a turn are frozen. */
export interface Frozen {
    readonly codec: ColdCodec;
    /** Name of what the codec has learned of the model. Null for a codec that learns nothing. */
    readonly book: string | null;
}

/** What a turn says of itself: an object of the store, named by its bytes. */
export interface TurnRecord {
    /** The turn before it in its conversation; null for the first. */
    readonly parent: string | null;
    /** Milliseconds since 1970. */
    readonly savedAt: number;
    readonly tokens: Uint32Array;
    /** Name of the sequence's tier, and its description. Tiers with the same description have the same rows. */
    readonly tier: {readonly name: string; readonly definition: string};
    /** Adapters (LoRA) that the rows were evaluated with. In version 1 only; later the rows' parts say it. */
    readonly adapter?: string | undefined;
    /** Whether other sequences may share its prefix. */
    readonly shareable: boolean;
    /** Parts as in `SnapshotParts`: the head's bytes, and the other parts' names. */
    readonly head: Uint8Array;
    readonly centres: readonly string[];
    readonly blocks: readonly string[];
    /** Null if it was dropped. */
    readonly tail: string | null;
    /** What `NativeBinding.keyTurns` gives. Null in versions before. */
    readonly keyTurns: Uint8Array | null;
    /** How those of its parts are stored that are frozen. Null if none is. */
    readonly frozen: Frozen | null;
    /** Whatever the app wants to find again. */
    readonly data: unknown;
}

const versions = {described: 1, unfrozen: 2, record: 3, conversation: 1, book: 1};

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

export function encodeRecord({tokens, head, keyTurns, ...rest}: TurnRecord): Uint8Array {
    const tokenBytes = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
    return Buffer.from(JSON.stringify({
        version: versions.record, ...rest, tokens: base64(tokenBytes), head: base64(head), keyTurns: keyTurns === null ? null : base64(keyTurns)
    }));
}

/** @throws DeltaStoreError TURN_FOREIGN, TURN_DAMAGED */
export function decodeRecord(id: string, bytes: Uint8Array): TurnRecord {
    const {tokens, head, adapter, version, keyTurns, frozen, ...rest} = parse(`Turn ${id}`, bytes, {
        [versions.described]: isDescribedRecord, [versions.unfrozen]: isUnfrozenRecord, [versions.record]: isRecord
    });
    const raw = bytesOf(tokens);
    if (raw.length % 4 !== 0) throw new DeltaStoreError("TURN_DAMAGED", `Turn ${id} is damaged: its tokens have ${raw.length} bytes`);
    const read = {...rest, tokens: new Uint32Array(raw.buffer), head: bytesOf(head), adapter: version === versions.described ? adapter : undefined};
    if (version !== versions.record) return {...read, keyTurns: null, frozen: null};
    return {...read, keyTurns: keyTurns === null ? null : bytesOf(keyTurns), frozen};
}

/** A turn's objects, whose holders the store counts. Only a conversation's newest turn holds its tail. @param name the record's own */
export function objectsOf(name: string, {centres, blocks, tail, frozen}: TurnRecord, withTail: boolean): string[] {
    const book = frozen?.book ?? null;
    return [name, ...centres, ...blocks, ...withTail && tail !== null ? [tail] : [], ...book === null ? [] : [book]];
}

/** A conversation's entry: its turns, the newest last. */
export interface Conversation {
    readonly name: string;
    /** Milliseconds since 1970: when it was last saved or restored. */
    readonly usedAt: number;
    readonly turns: readonly TurnEntry[];
    /** Absent if it has a turn that was saved since it was frozen, or was never frozen. */
    readonly cold?: Cold | undefined;
}

/** All turns of a conversation are frozen. */
export interface Cold {
    readonly codec: ColdCodec;
    /** Blocks and tails that stayed packed, since a conversation that is not cold holds them, too: how many of the turns hold each. */
    readonly packed: Readonly<Record<string, number>>;
}

export interface TurnEntry {
    readonly id: string;
    readonly savedAt: number;
    readonly tokens: number;
    /** Bytes that saving it, or freezing it, added to the store. */
    readonly bytes: number;
    /** Whether its tail is stored. Then no token is evaluated again when it is restored. */
    readonly whole: boolean;
    /** The codec that some of its rows, or all, are frozen with. Absent if none is. */
    readonly codec?: CodecName | undefined;
    /** Name of the record that freezing wrote. Absent for one that was not frozen: its name is the id. */
    readonly record?: string | undefined;
}

/** The name of a turn's record. */
export const recordNameOf = ({id, record}: TurnEntry): string => record ?? id;

export function encodeConversation(conversation: Conversation): Uint8Array {
    return Buffer.from(JSON.stringify({version: versions.conversation, ...conversation}));
}

/** @throws DeltaStoreError TURN_FOREIGN, TURN_DAMAGED */
export function decodeConversation(bytes: Uint8Array): Conversation {
    return parse("A conversation", bytes, {[versions.conversation]: isConversation});
}

/** What a codec has learned of a model: an entry of the store. */
export interface Book {
    /** The object with the book's bytes. */
    readonly object: string;
    /** Rows of each head that it was learned from. */
    readonly rows: number;
}

export function encodeBook(book: Book): Uint8Array {
    return Buffer.from(JSON.stringify({version: versions.book, ...book}));
}

/** @throws DeltaStoreError TURN_FOREIGN, TURN_DAMAGED */
export function decodeBook(bytes: Uint8Array): Book {
    return parse("A codec's book", bytes, {[versions.book]: isBook});
}

type Encoded = Omit<TurnRecord, "tokens" | "head" | "keyTurns" | "frozen"> &
    {version: number; tokens: string; head: string; keyTurns: string | null; frozen: Frozen | null};

/** Checked, since without a key anybody who can write to a store can write anything. */
const ajv = new Ajv({allowUnionTypes: true});
const text = {type: "string"}, texts = {type: "array", items: text}, number = {type: "number", minimum: 0}, flag = {type: "boolean"};
const textOrNone = {type: ["string", "null"]};
const object = (properties: Record<string, object>, others: Record<string, object> = {}) =>
    ({type: "object", required: Object.keys(properties), properties: {...properties, ...others}});
const codec = {...object({name: text}), additionalProperties: {type: ["string", "number"]}};
const recordFields = {savedAt: number, tokens: text, tier: object({name: text, definition: text}), shareable: flag, head: text, centres: texts, blocks: texts, tail: text};
const isDescribedRecord = ajv.compile<Encoded>(object({...recordFields, adapter: text})), isUnfrozenRecord = ajv.compile<Encoded>(object(recordFields));
const isRecord = ajv.compile<Encoded>(object({
    ...recordFields, tail: textOrNone, keyTurns: textOrNone, frozen: {...object({codec, book: textOrNone}), type: ["object", "null"]}
}));
const isConversation = ajv.compile<Conversation>(object({
    name: text, usedAt: number,
    turns: {type: "array", minItems: 1, items: object({id: text, savedAt: number, tokens: number, bytes: number, whole: flag}, {codec: text, record: text})}
}, {cold: object({codec, packed: {type: "object", additionalProperties: number}})}));
const isBook = ajv.compile<Book>(object({object: text, rows: number}));

/** @param checks of each version that can be read */
function parse<T>(what: string, bytes: Uint8Array, checks: Readonly<Record<number, (value: unknown) => value is T>>): T {
    const damaged = (why: string, cause?: unknown) => new DeltaStoreError("TURN_DAMAGED", `${what} is damaged: ${why}`, {cause});
    let value: unknown;
    try {
        value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
    } catch (error) {
        throw damaged((error as Error).message, error);
    }
    const found = (value as {version?: unknown} | null)?.version, check = typeof found === "number" ? checks[found] : undefined;
    if (typeof found === "number" && check === undefined)
        throw new DeltaStoreError("TURN_FOREIGN", `${what} has version ${found}; this build reads ${Object.keys(checks).join(" and ")}`);
    if (check?.(value) !== true) throw damaged("it has other fields than it must");
    return value;
}
