import {Ajv} from "ajv";
import {DeltaStoreError} from "../errors.js";

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
    readonly tail: string;
    /** Whatever the app wants to find again. */
    readonly data: unknown;
}

const versions = {described: 1, record: 2, conversation: 1};

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

export function encodeRecord({tokens, head, ...rest}: TurnRecord): Uint8Array {
    return Buffer.from(JSON.stringify({version: versions.record, ...rest, tokens: base64(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength)), head: base64(head)}));
}

/** @throws DeltaStoreError TURN_FOREIGN, TURN_DAMAGED */
export function decodeRecord(id: string, bytes: Uint8Array): TurnRecord {
    const {tokens, head, adapter, version, ...rest} = parse(`Turn ${id}`, bytes, {[versions.described]: isDescribedRecord, [versions.record]: isRecord});
    const raw = new Uint8Array(Buffer.from(tokens, "base64"));
    if (raw.length % 4 !== 0) throw new DeltaStoreError("TURN_DAMAGED", `Turn ${id} is damaged: its tokens have ${raw.length} bytes`);
    const described = version === versions.described ? adapter : undefined;
    return {...rest, adapter: described, tokens: new Uint32Array(raw.buffer), head: new Uint8Array(Buffer.from(head, "base64"))};
}

/** A turn's objects, whose holders the store counts. Only a conversation's newest turn holds its tail. */
export function objectsOf(id: string, {centres, blocks, tail}: TurnRecord, withTail: boolean): string[] {
    return [id, ...centres, ...blocks, ...withTail ? [tail] : []];
}

/** A conversation's entry: its turns, the newest last. */
export interface Conversation {
    readonly name: string;
    /** Milliseconds since 1970: when it was last saved or restored. */
    readonly usedAt: number;
    readonly turns: readonly TurnEntry[];
}

export interface TurnEntry {
    readonly id: string;
    readonly savedAt: number;
    readonly tokens: number;
    /** Bytes that saving it added to the store. */
    readonly bytes: number;
    /** Whether its tail is stored. Then no token is evaluated again when it is restored. */
    readonly whole: boolean;
}

export function encodeConversation(conversation: Conversation): Uint8Array {
    return Buffer.from(JSON.stringify({version: versions.conversation, ...conversation}));
}

/** @throws DeltaStoreError TURN_FOREIGN, TURN_DAMAGED */
export function decodeConversation(bytes: Uint8Array): Conversation {
    return parse("A conversation", bytes, {[versions.conversation]: isConversation});
}

type Encoded = Omit<TurnRecord, "tokens" | "head"> & {version: number; tokens: string; head: string};

/** Checked, since without a key anybody who can write to a store can write anything. */
const ajv = new Ajv();
const text = {type: "string"}, texts = {type: "array", items: text}, number = {type: "number", minimum: 0}, flag = {type: "boolean"};
const object = (properties: Record<string, object>, others: Record<string, object> = {}) =>
    ({type: "object", required: Object.keys(properties), properties: {...properties, ...others}});
const recordFields = {savedAt: number, tokens: text, tier: object({name: text, definition: text}), shareable: flag, head: text, centres: texts, blocks: texts, tail: text};
const isRecord = ajv.compile<Encoded>(object(recordFields)), isDescribedRecord = ajv.compile<Encoded>(object({...recordFields, adapter: text}));
const isConversation = ajv.compile<Conversation>(object({
    name: text, usedAt: number,
    turns: {type: "array", minItems: 1, items: object({id: text, savedAt: number, tokens: number, bytes: number, whole: flag})}
}));

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
