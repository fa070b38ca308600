import type {LlamaContextSequence} from "node-llama-cpp";
import {warnOfEarlierVersion} from "../engine/earlier-versions.js";
import type {DeltaStoreError} from "../errors.js";
import {isLost, turnOf, type Archive} from "./archive.js";
import type {Books} from "./cold/books.js";
import {loadTurn} from "./load.js";
import {recordNameOf, type TurnEntry} from "./record.js";
import {bringBack} from "./rows.js";
import type {Restored} from "./turn.js";

const mostTouches = 3;

/**
 * Replaces what a sequence holds by a turn: the one of this id, or the newest that can be restored.
 * @throws DeltaStoreError as `Turns.restore`
 */
export async function restoreTurn(archive: Archive, books: Books, name: string, sequence: LlamaContextSequence, id: string | undefined): Promise<Restored> {
    const {place} = archive.store;
    for (;;) {
        const found = await archive.find(name), damaged: {turn: string; error: DeltaStoreError}[] = [];
        const choices = id === undefined ? [...found.turns].reverse() : [turnOf(found, id)];
        for (const turn of choices) {
            try {
                const {record: {data, frozen}, rows, lost} = await loadTurn(archive, books, turn), evaluated = await bringBack(sequence, rows);
                if (rows.describedAdapters !== null)
                    warnOfEarlierVersion(`The conversation ${JSON.stringify(name)} in ${place}`, place, "rope factors for long and short contexts, nor adapters (LoRA) of the same name and size");
                await touch(archive, name).catch(() => undefined);  // a store that can be read only has given what was asked for
                if (lost !== null) damaged.push({turn: turn.id, error: lost});
                return {turn, data, codec: frozen?.codec.name ?? "packed", evaluated, damaged};
            } catch (error) {
                if (!isLost(error)) throw error;
                if (!await has(archive, name, turn)) break;
                damaged.push({turn: turn.id, error});
            }
        }
        if (damaged.length === choices.length) throw damaged[0]!.error;
    }
}

/** Whether the conversation still has a turn as it was read just now. Else somebody dropped or froze it meanwhile, and it is not damaged. */
async function has(archive: Archive, name: string, turn: TurnEntry): Promise<boolean> {
    return (await archive.read(name)).conversation?.turns.some((one) => recordNameOf(one) === recordNameOf(turn)) ?? false;
}

/** The conversation was used just now. If others change it all the time, they say so, too. */
async function touch(archive: Archive, name: string): Promise<void> {
    for (let tried = 0; tried < mostTouches; tried++) {
        const entry = await archive.read(name);
        if (entry.conversation === undefined || await archive.write(entry, {...entry.conversation, usedAt: Date.now()}, {}) === null) return;
    }
}
