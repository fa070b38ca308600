import {isDeepStrictEqual} from "node:util";
import {DeltaStoreError} from "../../errors.js";
import {invalid} from "../../options.js";
import {codecText, type ColdCodec} from "../../policy/codecs.js";
import {notFound, unlessLost, type Archive} from "../archive.js";
import {countOf} from "../counts.js";
import type {Pace} from "../pace.js";
import {encodeRecord, recordNameOf, type Conversation} from "../record.js";
import type {Refusal} from "../stores/snapshot-store.js";
import type {Books} from "./books.js";
import type {ColdHolders} from "./cold-holders.js";
import {FrozenRows, type Blocks} from "./frozen-rows.js";
import {bytesOf, heldByRead, partsOf, readTurns, type ReadTurn} from "./read-turns.js";
import {rowsOfBlock} from "./training.js";

/** So many of a conversation's newest rows are frozen finely. */
const fineRows = 128;

/** How often a store may lose what freezing has brought. */
const mostRefusals = 8;

export interface Freezing {
    readonly codec: ColdCodec;
    /** Bytes that the conversation's turns hold in the store, before and after. What codecs have learned of a model is not among them. */
    readonly bytesBefore: number;
    readonly bytesAfter: number;
    /** Turns that were frozen. The others were so already, are damaged, or were saved by an earlier version. */
    readonly turns: number;
}

export interface FreezeHow extends Pace {
    readonly codec: ColdCodec;
    /** A conversation that was used later stays as it is. Milliseconds since 1970. */
    readonly usedUntil: number;
    /** Those of the whole store. */
    readonly coldHolders: ColdHolders;
}

/**
 * Freezes all turns of a conversation in one step. Nothing of it is lost, whatever is saved meanwhile, and whenever the process ends. Null if it was used
 * too lately.
 * @throws DeltaStoreError TURN_NOT_FOUND, TURN_DAMAGED: no such conversation, or it can't be read; OPTION_INVALID: it is frozen with another codec;
 *     CODEC_UNTRAINED; STORE_FAILED; BINARY_MISSING; DISPOSED
 */
export async function freezeConversation(archive: Archive, books: Books, name: string, how: FreezeHow): Promise<Freezing | null> {
    const {store} = archive, rows = new FrozenRows(archive, books, how.codec, how), gone = new Set<string>();
    try {
        for (let refusals = 0; refusals <= mostRefusals;) {
            const outcome = await attempt(archive, rows, name, how, gone);
            if (outcome === null || !("refused" in outcome)) return outcome;
            if (outcome.refused !== "missing") continue;  // it was used meanwhile
            for (const object of outcome.objects) gone.add(object);
            rows.forget(outcome.objects);
            refusals++;
        }
        throw new DeltaStoreError("STORE_FAILED", `The store at ${store.place} has lost what ${JSON.stringify(name)} needs ${mostRefusals + 1} times while it was ` +
            "frozen: it evicts, or is swept all the time");
    } finally {
        await store.step({sweep: [...rows.stored]}).catch(() => undefined);  // what nobody holds
    }
}

/** @param gone objects that the store has lost: turns that hold one are damaged, and stay as they are */
async function attempt(archive: Archive, rows: FrozenRows, name: string, {codec, usedUntil, coldHolders}: FreezeHow, gone: ReadonlySet<string>):
    Promise<Freezing | Refusal | null> {
    const entry = await archive.read(name), {conversation} = entry;
    if (conversation === undefined) throw notFound(name);
    if (conversation.usedAt > usedUntil) return null;
    const turns = await readTurns(archive, conversation), held = countOf(turns.flatMap(heldByRead)), stored = await archive.store.stored([...held.keys()]);
    refuseOtherCodecs(codec, name, turns);
    const warmHolders = (part: string): number =>
        (stored.get(part)?.holders ?? 0) - (held.get(part) ?? 0) - coldHolders.count(part) + (conversation.cold?.packed[part] ?? 0);
    const fine = finestOf(turns), blocks: Blocks = {stays: (part) => warmHolders(part) > 0, isFine: (block) => fine.has(block)};
    const next: (FrozenTurn | null)[] = [];
    for (const read of turns)
        next.push(heldByRead(read).some((object) => gone.has(object)) ? null : await freezeTurn(archive, rows, read, conversation, blocks));
    const after = turns.map((read, index) => next[index] ?? read), changed = next.filter((turn) => turn !== null);
    const cold = {codec, packed: Object.fromEntries(countOf(after.flatMap(partsOf).filter(blocks.stays)))};
    const report = {codec, bytesBefore: bytesOf(turns, stored), turns: changed.length};
    if (changed.length === 0 && isDeepStrictEqual(conversation.cold, cold)) return {...report, bytesAfter: report.bytesBefore};
    const refusal = await archive.write(entry, {...conversation, turns: after.map(({turn}) => turn), cold}, {
        objects: changed.map(({object}) => object), retain: changed.flatMap(heldByRead), release: turns.filter((_, index) => next[index] !== null).flatMap(heldByRead)
    });
    if (refusal !== null) return refusal;
    coldHolders.replace(conversation.cold, cold);
    return {...report, bytesAfter: bytesOf(after, await archive.store.stored([...new Set(after.flatMap(heldByRead))]))};
}

interface FrozenTurn extends ReadTurn {
    /** The record, as it is to be stored. */
    readonly object: readonly [name: string, bytes: Uint8Array];
}

/** Null if the turn stays as it is. */
async function freezeTurn(archive: Archive, rows: FrozenRows, {turn, record}: ReadTurn, conversation: Conversation, blocks: Blocks): Promise<FrozenTurn | null> {
    const frozen = record === null ? null : await rows.freeze(record, turn.whole, conversation, blocks).catch(unlessLost(null));
    if (frozen === null) return null;
    const bytes = encodeRecord(frozen.record), name = archive.seal.nameOf(bytes);
    if (name === recordNameOf(turn)) return null;
    const object = await archive.seal.sealObject(name, bytes), {tail} = frozen.record, codec = frozen.record.frozen!.codec.name;
    return {
        turn: {...turn, record: name, codec, whole: turn.whole && tail !== null, bytes: frozen.bytes + object.length}, record: frozen.record, object: [name, object]
    };
}

/** A codec that loses rows can't take the place of another one, and needs rows. */
function refuseOtherCodecs(codec: ColdCodec, conversation: string, turns: readonly ReadTurn[]): void {
    if (codec.name === "tokens") return;
    const before = turns.map(({record}) => record?.frozen?.codec);
    const refusal = `The conversation ${JSON.stringify(conversation)} can't be frozen with ${codecText(codec)}: it `;
    if (before.every((one) => one?.name === "tokens")) throw invalid(`${refusal}keeps no rows; allowed is "tokens", and any codec once it was restored and saved again`);
    const other = before.find((one) => one !== undefined && one.name !== "tokens" && !isDeepStrictEqual(one, codec));
    if (other !== undefined) throw invalid(`${refusal}is frozen with ${codecText(other)}; allowed are the same codec, and "tokens"`);
}

/** The blocks with the newest rows of the newest turn. */
function finestOf(turns: readonly ReadTurn[]): Set<string> {
    const newest = turns.at(-1)!.record;
    return new Set(newest?.blocks.slice(-Math.ceil(fineRows / rowsOfBlock(newest))) ?? []);
}
