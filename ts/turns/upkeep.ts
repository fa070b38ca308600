import {DeltaStoreError} from "../errors.js";
import type {CodecName} from "../policy/codecs.js";
import {isLost, type Archive} from "./archive.js";
import {booksOf, dropUnusedBooks} from "./cold/book-entries.js";
import {countOf} from "./counts.js";
import {isAbandoned} from "./parked-name.js";
import {objectsOf, recordNameOf, type TurnEntry} from "./record.js";
import type {Held} from "./stores/snapshot-store.js";

export interface ConversationSummary {
    readonly name: string;
    readonly usedAt: Date;
    readonly turns: number;
    /** Tokens of the newest turn. */
    readonly tokens: number;
    /** How the newest turn is stored: as it was saved, or frozen, at least in part. */
    readonly codec: CodecName | "packed";
}

/** All conversations, the last used first. */
export async function summarize(archive: Archive): Promise<ConversationSummary[]> {
    const summaries: ConversationSummary[] = [];
    for await (const {name, usedAt, turns} of archive.all("conversation")) {
        const {tokens, codec = "packed"} = turns.at(-1)!;
        summaries.push({name, usedAt: new Date(usedAt), turns: turns.length, tokens, codec});
    }
    return summaries.sort((a, b) => b.usedAt.getTime() - a.usedAt.getTime());
}

/**
 * Drops conversations past their time; above the budget those that were longest unused; objects that nobody holds; parked rows whose process is
 * gone; and what codecs have learned of models if no turn needs it.
 * @param ttl in seconds
 * @param budget in bytes
 * @param remove deletes a conversation
 * @param spared the conversation that stays in any case
 */
export async function collect(archive: Archive, {ttl, budget}: {ttl: number; budget: number}, remove: (name: string) => Promise<boolean>, spared: string | null):
    Promise<{conversations: number; bytes: number}> {
    const {store} = archive, before = await store.bytes();
    await recount(archive);
    let conversations = await dropAbandoned(archive, remove);
    await sweepUnheld(archive);
    await dropUnusedBooks(archive);
    for (const {name, usedAt} of (await summarize(archive)).reverse()) {
        if (!(Date.now() - usedAt.getTime() > 1000 * ttl) && !(await store.bytes() > budget)) break;  // a limit that is no number drops nothing
        if (name !== spared && await remove(name)) conversations++;
    }
    if (conversations > 0) await dropUnusedBooks(archive);
    return {conversations, bytes: before - await store.bytes()};
}

/** Drops objects that nobody holds. They are of saves that were interrupted, or of saves under way, which store them again. */
export async function sweepUnheld({store}: Archive): Promise<void> {
    const unheld: string[] = [];
    for await (const {name, holders} of store.inventory()) if (holders === 0) unheld.push(name);
    if (unheld.length > 0) await store.step({sweep: unheld});
}

/** Has a store that lost count of holders count again, so that objects without holders can go. */
export async function recount(archive: Archive): Promise<void> {
    await archive.store.recount?.(() => heldByAll(archive));
}

/** Null if an entry or record is of another key or version: then only somebody else knows what it holds. */
async function heldByAll(archive: Archive): Promise<Held | null> {
    const entries: [string, Uint8Array][] = [], holders = new Map<string, number>();
    try {
        for await (const {key, raw, conversation} of archive.entries()) {
            entries.push([key, raw]);
            for (const turn of conversation.turns) countOf(await heldUnlessDamaged(archive, turn), holders);
        }
        for await (const {key, raw, book} of booksOf(archive)) {
            entries.push([key, raw]);
            countOf([book.object], holders);
        }
    } catch (error) {
        if (isLost(error) || (error as Partial<DeltaStoreError>).code === "STORE_KEY_WRONG") return null;
        throw error;
    }
    return {entries, holders};
}

async function heldUnlessDamaged(archive: Archive, turn: TurnEntry): Promise<string[]> {
    try {
        return objectsOf(recordNameOf(turn), await archive.record(turn), turn.whole);
    } catch (error) {
        if ((error as Partial<DeltaStoreError>).code !== "TURN_DAMAGED") throw error;
        return [recordNameOf(turn)];
    }
}

/** Drops parked rows whose process is gone. Gives their number. */
export async function dropAbandoned(archive: Archive, remove: (name: string) => Promise<boolean>): Promise<number> {
    let dropped = 0;
    for await (const {name, usedAt} of archive.all("parked")) if (isAbandoned(name, usedAt) && await remove(name)) dropped++;
    return dropped;
}
