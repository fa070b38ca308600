import type {Archive} from "./archive.js";
import {countOf} from "./counts.js";

/** Bytes that a conversation holds in the store, and bytes that only it holds. @throws DeltaStoreError TURN_NOT_FOUND */
export async function sizeOf(archive: Archive, conversation: string): Promise<{all: number; own: number}> {
    const {turns} = await archive.find(conversation), held = countOf(await archive.heldBy(turns));
    let all = 0, own = 0;
    for (const [name, {bytes, holders}] of await archive.store.stored([...held.keys()])) {
        all += bytes;
        if (held.get(name) === holders) own += bytes;
    }
    return {all, own};
}

/** Bytes that only it holds, of each conversation. Reads all turns' records. */
export async function ownBytes(archive: Archive): Promise<Map<string, number>> {
    const owners = new Map<string, {conversation: string; count: number}>(), own = new Map<string, number>();
    for await (const {name: conversation, turns} of archive.all("conversation")) {
        own.set(conversation, 0);
        for (const [name, count] of countOf(await archive.heldBy(turns))) {
            const owner = owners.get(name);
            owners.set(name, owner === undefined ? {conversation, count} : {...owner, count: NaN});  // of several: no count of holders is theirs
        }
    }
    for await (const {name, bytes, holders} of archive.store.inventory()) {
        const owner = owners.get(name);
        if (owner?.count === holders) own.set(owner.conversation, own.get(owner.conversation)! + bytes);
    }
    return own;
}
