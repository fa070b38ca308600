import type {Archive} from "./archive.js";
import {booksOf} from "./cold/book-entries.js";
import type {Books} from "./cold/books.js";
import type {Engine} from "./cold/engine.js";
import {ThawTrial} from "./cold/thaw-trial.js";
import {countOf} from "./counts.js";
import {objectsOf, recordNameOf} from "./record.js";

export interface Verified {
    readonly conversations: number;
    readonly turns: number;
    readonly objects: number;
    /** Frozen blocks and tails that were thawed. */
    readonly thawed: number;
    /** Why frozen ones were not thawed: there is no engine. Their hashes were checked all the same. Null if all were. */
    readonly notThawed: string | null;
    readonly problems: string[];
}

/** Reads everything, and tells what is wrong. What others save meanwhile can look wrong; it does not look wrong twice in the same way. */
export async function verify(archive: Archive, books: Books, engine: Engine): Promise<Verified> {
    let report = await examine(archive, books, engine);
    for (let again = 0; again < 2 && report.problems.length > 0; again++) {
        const next = await examine(archive, books, engine);
        report = {...next, problems: next.problems.filter((problem) => report.problems.includes(problem))};
    }
    return report;
}

async function examine(archive: Archive, books: Books, engine: Engine): Promise<Verified> {
    const problems = new Set<string>(), holders = new Map<string, number>(), turns = new Set<string>(), trial = new ThawTrial(archive, books, engine);
    let conversations = 0;
    const unreadable = (error: Error) => void problems.add(error.message), of = [archive.all("conversation", unreadable), archive.all("parked", unreadable)];
    for (const entries of of) for await (const {name, turns: all} of entries) {
        conversations++;
        for (const turn of all) {
            const tell = (error: Error) => void problems.add(`Conversation ${JSON.stringify(name)}: ${error.message}`);
            turns.add(turn.id);
            const record = await archive.record(turn).catch(tell);
            countOf(record === undefined ? [recordNameOf(turn)] : objectsOf(recordNameOf(turn), record, turn.whole), holders);
            if (record !== undefined) await trial.thaw(record, turn.whole).catch(tell);
        }
    }
    for await (const {book} of booksOf(archive, unreadable)) countOf([book.object], holders);
    const stored = new Map<string, number>();
    for await (const {name, holders: count} of archive.store.inventory()) stored.set(name, count);
    for (const name of holders.keys())
        await archive.open([name]).catch((error: unknown) => problems.add((error as Error).message));
    if ([...stored.values()].includes(Infinity)) problems.add("The store has lost count of its objects' holders, so that none goes with its last; collectGarbage counts again");
    for (const [name, count] of stored)
        if (count !== Infinity && count !== (holders.get(name) ?? 0)) problems.add(`Object ${name} counts ${count} holders instead of ${holders.get(name) ?? 0}`);
    return {conversations, turns: turns.size, objects: stored.size, thawed: trial.thawed, notThawed: trial.reason, problems: [...problems]};
}
