import {DeltaStoreError} from "../errors.js";
import type {Archive} from "./archive.js";
import {keysOf} from "./known-blocks.js";
import {restAfter} from "./pace.js";
import {encodeRecord, objectsOf, type TurnEntry, type TurnRecord} from "./record.js";
import {definitionOf, type Capture} from "./rows.js";

/** Blocks that are stored together. Few, so that other work gets its turn, and a long sequence is not in memory twice. */
const bytesAtOnce = 1 << 20;

/** Milliseconds. */
const longestRest = 1000;

/** How often a store may lose what a save has brought. Nobody collects garbage that often during one save. */
const mostRefusals = 8;

interface Part {
    readonly centres: string[];
    readonly blocks: string[];
    readonly tail: string;
}

export interface SaveHow {
    readonly data: unknown;
    /** How many turns stay, with this one. */
    readonly history: number;
    /** Whether saving does not rest beside evaluations, since somebody waits for the memory. */
    readonly urgent: boolean;
    /** Gets the names of objects that are stored. Those that nobody holds in the end can be swept. */
    readonly stored: Set<string>;
}

/**
 * Stores a capture as a conversation's newest turn.
 * @throws DeltaStoreError STORE_FAILED, too, if the store loses what it is given
 */
export async function saveTurn(archive: Archive, name: string, captured: Capture, {data, history, urgent, stored}: SaveHow): Promise<TurnEntry> {
    let added = 0;
    const bring = async (bytes: readonly Uint8Array[]): Promise<string[]> => {
        const brought = await archive.bring(bytes, captured.tier.format === "f16" ? "none" : "entropy", stored);
        added += brought.bytes;
        return brought.names;
    };
    /** @param known names of blocks that the store should have */
    const bringAll = async (known: readonly (string | undefined)[], patient: boolean): Promise<Part> => {
        const blocks = [...known];
        let atOnce = 1;
        for (let begin = blocks.indexOf(undefined); begin >= 0; begin = blocks.indexOf(undefined, begin)) {
            const started = performance.now(), next = blocks.findIndex((name, index) => index > begin && name !== undefined);
            const some = await captured.native.snapshotBlocks(captured.handle, begin, Math.min(next < 0 ? captured.blocks : next, begin + atOnce));
            blocks.splice(begin, some.length, ...await bring(some));
            atOnce = Math.max(1, Math.floor(bytesAtOnce / some[0]!.length));
            if (patient && blocks.includes(undefined) && captured.isBusy()) await restAfter(started, longestRest);
        }
        return {centres: await bring(captured.centres), blocks: blocks as string[], tail: (await bring([captured.tail]))[0]!};
    };
    const keys = keysOf(captured.identities, captured.blocks), cold = archive.known.frozenOf(captured.sequence);
    let parts = await bringAll(archive.knownBlocks(captured.sequence, keys), !urgent);
    for (let refusals = 0; ; ) {
        const entry = await archive.readAnyhow(name), old = entry.conversation?.turns ?? [];
        const frozen = cold !== null && parts.blocks.some((block) => cold.names.has(block)) ? cold.frozen : null;
        const record: TurnRecord = {
            parent: old.at(-1)?.id ?? null, savedAt: Date.now(), tokens: captured.tokens,
            tier: {name: captured.tier.name, definition: definitionOf(captured.tier)}, shareable: captured.shareable,
            head: captured.head, ...parts, keyTurns: captured.keyTurns, frozen, data
        };
        const bytes = encodeRecord(record), id = archive.seal.nameOf(bytes), object = await archive.seal.sealObject(id, bytes);
        const turn: TurnEntry = {id, savedAt: record.savedAt, tokens: captured.tokens.length, bytes: added + object.length, whole: true, codec: frozen?.codec.name};
        const dropped = old.slice(0, Math.max(0, old.length + 1 - history)), stay = old.slice(dropped.length);
        const refusal = await archive.write(entry, {name, usedAt: record.savedAt, turns: [...stay.map((turn) => ({...turn, whole: false})), turn]}, {
            objects: [[id, object]], retain: objectsOf(id, record, true), release: [...await archive.heldBy(dropped), ...await archive.tailsOf(stay)]
        });
        if (refusal === null) {
            archive.known.remember(captured.sequence, keys, parts.blocks, frozen === null ? null : cold);
            return turn;
        }
        if (refusal.refused !== "missing") continue;  // somebody else saved this conversation
        if (++refusals > mostRefusals)
            throw new DeltaStoreError("STORE_FAILED", `The store at ${archive.store.place} has lost what the turn needs ${refusals} times while it was saved: it evicts, or is swept all the time`);
        // Known blocks were dropped before this save, or during it. If it happens twice, nothing is taken for known any more.
        const missing = new Set(refusal.objects), lacksBook = frozen?.book != null && missing.has(frozen.book);
        const isGone = (block: string) => missing.has(block) || (lacksBook && cold!.names.has(block));
        parts = await bringAll(parts.blocks.map((name) => isGone(name) ? undefined : name), !urgent && refusals < 2);
    }
}
