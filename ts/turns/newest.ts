import {unlessLost, type Archive} from "./archive.js";
import type {Turn} from "./turn.js";

/** A conversation's newest turn that can be read, with its data. Null if there is none. */
export async function newestTurn(archive: Archive, name: string): Promise<{turn: Turn; data: unknown} | null> {
    for (;;) {
        const entry = await archive.readAnyhow(name);
        for (const turn of [...entry.conversation?.turns ?? []].reverse()) {
            const record = await archive.record(turn).catch(unlessLost(null));
            if (record !== null) return {turn, data: record.data};
            if (!await archive.isStill(entry)) break;  // it was frozen, or dropped, since it was read
        }
        if (entry.raw === undefined || await archive.isStill(entry)) return null;
    }
}
