import {isDeepStrictEqual} from "node:util";
import {DeltaStoreError} from "../../errors.js";
import type {ColdCodec} from "../../policy/codecs.js";
import type {ColdStep} from "../../policy/cold.js";
import type {Archive} from "../archive.js";
import type {Pace} from "../pace.js";
import type {Conversation} from "../record.js";
import type {Books} from "./books.js";
import {ColdHolders} from "./cold-holders.js";
import {freezeConversation, type Freezing} from "./freeze.js";

/** What became of conversations that were due. */
export interface Aged {
    readonly frozen: readonly (Freezing & {readonly conversation: string})[];
    /** Those that stayed as they are for now, and why. */
    readonly left: readonly {readonly conversation: string; readonly error: DeltaStoreError}[];
}

const ofOne: readonly string[] = ["TURN_NOT_FOUND", "TURN_DAMAGED", "TURN_FOREIGN", "OPTION_INVALID", "CODEC_UNTRAINED"];

/** Whether a conversation stays as it is, and the next one may well be frozen. */
export const isOfOne = (error: unknown): error is DeltaStoreError => error instanceof DeltaStoreError && ofOne.includes(error.code);

/** The last step whose age the conversation has. */
const stepOf = ({usedAt}: Conversation, steps: readonly ColdStep[], now: number): ColdStep | undefined =>
    steps.filter(({after}) => now - usedAt >= 1000 * after).at(-1);

/** Whether a step has something to do. Of a cold conversation's blocks those are still to be frozen that only cold ones hold by now. */
function isDue({cold}: Conversation, codec: ColdCodec, onlyCold: (block: string) => boolean): boolean {
    if (cold === undefined) return true;
    if (isDeepStrictEqual(cold.codec, codec)) return Object.keys(cold.packed).some(onlyCold);
    return codec.name === "tokens";
}

/**
 * Freezes conversations as their age says, one after another.
 * @throws DeltaStoreError STORE_FAILED, BINARY_MISSING, DISPOSED; conversations that were frozen stay so
 */
export async function freezeByAge(archive: Archive, books: Books, steps: readonly ColdStep[], pace: Pace): Promise<Aged> {
    const now = Date.now(), held = await ColdHolders.of(archive), stored = await archive.store.stored(held.blocks);
    const onlyCold = (block: string): boolean => stored.get(block)?.holders === held.count(block);
    const due: {name: string; step: ColdStep}[] = [], frozen: Aged["frozen"][number][] = [], left: Aged["left"][number][] = [];
    for await (const conversation of archive.all("conversation")) {
        const step = stepOf(conversation, steps, now);
        if (step !== undefined && isDue(conversation, step.codec, onlyCold)) due.push({name: conversation.name, step});
    }
    for (const {name, step: {after, codec}} of due) {
        try {
            const one = await freezeConversation(archive, books, name, {...pace, codec, usedUntil: now - 1000 * after, coldHolders: held});
            if (one !== null) frozen.push({conversation: name, ...one});
        } catch (error) {
            if (!isOfOne(error)) throw error;
            left.push({conversation: name, error});
        }
    }
    return {frozen, left};
}
