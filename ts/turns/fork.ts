import {DeltaStoreError} from "../errors.js";
import {isLost, notFound, turnOf, type Archive} from "./archive.js";
import {objectsOf, recordNameOf} from "./record.js";

/**
 * Begins a conversation with the turns of another: up to the one of this id, or all.
 * @throws DeltaStoreError TURN_NOT_FOUND, TURN_DAMAGED
 */
export async function forkConversation(archive: Archive, conversation: string, name: string, id: string | undefined): Promise<void> {
    for (;;) {
        const source = await archive.read(conversation), found = source.conversation;
        if (found === undefined) throw notFound(conversation);
        const end = id === undefined ? found.turns.length : found.turns.indexOf(turnOf(found, id)) + 1, turns = found.turns.slice(0, end);
        const target = await archive.readAnyhow(name), retain: string[] = [];
        try {
            for (const one of turns) retain.push(...objectsOf(recordNameOf(one), await archive.record(one), one.whole));
        } catch (error) {
            if (isLost(error) && !await archive.isStill(source)) continue;
            throw error;
        }
        const refusal = await archive.write(target, {name, usedAt: Date.now(), turns}, {
            expect: [[source.key, source.raw!]], retain, release: await archive.heldBy(target.conversation?.turns ?? [])
        });
        if (refusal === null) return;
        if (refusal.refused === "missing") throw new DeltaStoreError("TURN_DAMAGED", `${JSON.stringify(conversation)} lacks objects: ${refusal.objects.join(", ")}`);
    }
}
