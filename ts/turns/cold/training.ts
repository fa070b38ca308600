import {isDeepStrictEqual} from "node:util";
import {madeWith} from "../../engine/snapshot-head.js";
import type {NativeBinding} from "../../engine/native.js";
import {DeltaStoreError} from "../../errors.js";
import type {ColdCodec} from "../../policy/codecs.js";
import {unlessLost, type Archive} from "../archive.js";
import {giveWay, type Pace} from "../pace.js";
import type {Conversation, TurnRecord} from "../record.js";
import {nativeCodec, ofStored} from "./engine.js";

/** Rows of each head. With fewer a codec knows a model too little; with more it learns next to nothing. */
const fewestRows = 1024, mostRows = 8192;

const blocksAtOnce = 4;

/** Rows of each head in a block, see `cpp/snapshot/snapshot.h`. */
export function rowsOfBlock({tier}: TurnRecord): number {
    return (JSON.parse(tier.definition) as {format?: unknown}).format === "f16" ? 16 : 64;
}

/** Packed blocks that a codec can learn from, each once: of a conversation's newest turn, then of all others' that were made with the same. */
export async function* packedBlocks(archive: Archive, record: TurnRecord, conversation: Conversation): AsyncIterable<{record: TurnRecord; blocks: string[]}> {
    const made = madeWith(record.head), seen = new Set<string>();
    async function* conversations(): AsyncIterable<Conversation> {
        yield conversation;
        yield* archive.all("conversation");
    }
    for await (const {turns} of conversations()) {
        const newest = await archive.record(turns.at(-1)!).catch(unlessLost(null));
        if (newest === null || newest.frozen !== null || !isDeepStrictEqual(madeWith(newest.head), made)) continue;
        const blocks = newest.blocks.filter((block) => !seen.has(block));
        for (const block of blocks) seen.add(block);
        if (blocks.length > 0) yield {record: newest, blocks};
    }
}

/** Whether the store has so many rows to learn from. */
export async function hasRows(sources: AsyncIterable<{record: TurnRecord; blocks: string[]}>, rows: number): Promise<boolean> {
    let found = 0;
    for await (const {record, blocks} of sources) if ((found += rowsOfBlock(record) * blocks.length) >= rows) return true;
    return false;
}

/**
 * Learns a book.
 * @throws DeltaStoreError CODEC_UNTRAINED: there are too few rows
 */
export async function train(archive: Archive, native: NativeBinding, codec: ColdCodec, first: TurnRecord, sources: ReturnType<typeof packedBlocks>, pace: Pace):
    Promise<{bytes: Uint8Array; rows: number}> {
    const cannot = `The codec "${codec.name}" can't learn`;
    const trainer = await ofStored(cannot, async () => native.beginTraining(nativeCodec(codec), first.head, first.keyTurns));
    let rows = 0;
    for await (const {record, blocks} of sources) {
        const centres = await archive.open(record.centres).catch(unlessLost(null));
        for (let begin = 0; centres !== null && begin < blocks.length && rows < mostRows; begin += blocksAtOnce) {
            const began = performance.now(), some = await archive.open(blocks.slice(begin, begin + blocksAtOnce)).catch(unlessLost(null));
            if (some === null) break;  // a damaged turn teaches nothing
            rows = await ofStored(cannot, () => native.addTraining(trainer, centres, some));
            await giveWay(pace, began);
        }
        if (rows >= mostRows) break;
    }
    if (rows < fewestRows)
        throw new DeltaStoreError("CODEC_UNTRAINED", `The codec "${codec.name}" has to learn from at least ${fewestRows} packed rows of the model, and the store ` +
            `has ${rows}. Save longer conversations first, or take the codec "channel" or "tokens", which learn nothing`);
    return {bytes: await ofStored(cannot, () => native.endTraining(trainer)), rows};
}
