import {DeltaStoreError} from "../errors.js";
import {isLost, type Archive} from "./archive.js";
import {isAbandoned} from "./parked-name.js";
import {objectsOf} from "./record.js";
import type {Held} from "./stores/snapshot-store.js";

export interface ConversationSummary {
    readonly name: string;
    readonly usedAt: Date;
    readonly turns: number;
    /** Tokens of the newest turn. */
    readonly tokens: number;
}

/** All conversations, the last used first. */
export async function summarize(archive: Archive): Promise<ConversationSummary[]> {
    const summaries: ConversationSummary[] = [];
    for await (const {name, usedAt, turns} of archive.all("conversation"))
        summaries.push({name, usedAt: new Date(usedAt), turns: turns.length, tokens: turns.at(-1)!.tokens});
    return summaries.sort((a, b) => b.usedAt.getTime() - a.usedAt.getTime());
}

/**
 * Drops conversations past their time; above the budget those that were longest unused; objects that nobody holds; and parked rows whose process
 * is gone.
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
    for (const {name, usedAt} of (await summarize(archive)).reverse()) {
        if (!(Date.now() - usedAt.getTime() > 1000 * ttl) && !(await store.bytes() > budget)) break;  // a limit that is no number drops nothing
        if (name !== spared && await remove(name)) conversations++;
    }
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
            for (const {id, whole} of conversation.turns) {
                const record = await archive.record(id).catch((error: unknown) => {
                    if ((error as Partial<DeltaStoreError>).code !== "TURN_DAMAGED") throw error;
                    return null;
                });
                for (const name of record === null ? [id] : objectsOf(id, record, whole)) holders.set(name, (holders.get(name) ?? 0) + 1);
            }
        }
    } catch (error) {
        if (isLost(error) || (error as Partial<DeltaStoreError>).code === "STORE_KEY_WRONG") return null;
        throw error;
    }
    return {entries, holders};
}

/** Drops parked rows whose process is gone. Gives their number. */
export async function dropAbandoned(archive: Archive, remove: (name: string) => Promise<boolean>): Promise<number> {
    let dropped = 0;
    for await (const {name, usedAt} of archive.all("parked")) if (isAbandoned(name, usedAt) && await remove(name)) dropped++;
    return dropped;
}

export interface Verified {
    readonly conversations: number;
    readonly turns: number;
    readonly objects: number;
    readonly problems: string[];
}

/** Reads everything, and tells what is wrong. What others save meanwhile can look wrong; it does not look wrong twice in the same way. */
export async function verify(archive: Archive): Promise<Verified> {
    let report = await examine(archive);
    for (let again = 0; again < 2 && report.problems.length > 0; again++) {
        const next = await examine(archive);
        report = {...next, problems: next.problems.filter((problem) => report.problems.includes(problem))};
    }
    return report;
}

async function examine(archive: Archive): Promise<Verified> {
    const problems: string[] = [], holders = new Map<string, number>(), turns = new Set<string>();
    let conversations = 0;
    const unreadable = (error: Error) => problems.push(error.message), of = [archive.all("conversation", unreadable), archive.all("parked", unreadable)];
    for (const entries of of) for await (const {name, turns: all} of entries) {
        conversations++;
        for (const {id, whole} of all) {
            turns.add(id);
            const record = await archive.record(id).catch((error: unknown) => {
                problems.push(`Conversation ${JSON.stringify(name)}: ${(error as Error).message}`);
            });
            for (const object of record === undefined ? [id] : objectsOf(id, record, whole)) holders.set(object, (holders.get(object) ?? 0) + 1);
        }
    }
    const stored = new Map<string, number>();
    for await (const {name, holders: count} of archive.store.inventory()) stored.set(name, count);
    for (const name of holders.keys())
        await archive.open([name]).catch((error: unknown) => problems.push((error as Error).message));
    if ([...stored.values()].includes(Infinity)) problems.push("The store has lost count of its objects' holders, so that none goes with its last; collectGarbage counts again");
    for (const [name, count] of stored)
        if (count !== Infinity && count !== (holders.get(name) ?? 0)) problems.push(`Object ${name} counts ${count} holders instead of ${holders.get(name) ?? 0}`);
    return {conversations, turns: turns.size, objects: stored.size, problems};
}

/** Bytes that a conversation holds in the store, and bytes that only it holds. @throws DeltaStoreError TURN_NOT_FOUND */
export async function sizeOf(archive: Archive, conversation: string): Promise<{all: number; own: number}> {
    const {turns} = await archive.find(conversation), held = new Map<string, number>();
    for (const name of await archive.heldBy(turns)) held.set(name, (held.get(name) ?? 0) + 1);
    let all = 0, own = 0;
    for await (const {name, bytes, holders} of archive.store.inventory()) {
        const count = held.get(name);
        if (count === undefined) continue;
        all += bytes;
        if (count === holders) own += bytes;
    }
    return {all, own};
}
