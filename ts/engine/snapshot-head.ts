/**
 * What `cpp/snapshot/snapshot.h` says of a head: 4 bytes of magic, u32 version, origin, shapes {u8, u32 layers, three u32 each}, u32 tokens, extent
 * {u8, three i32}, u32 blocks, i32 end of blocks, i32 end, centre tags {u8 count, u64 each}, and what heads look up.
 */
const originBegin = 8, originBytes = 56, layerBytes = 12, extentBytes = 13;

/** Heads of another version have another origin. */
const version = 2;

const viewOf = ({buffer, byteOffset, byteLength}: Uint8Array): DataView => new DataView(buffer, byteOffset, byteLength);

const layersAt = originBegin + originBytes + 1;
const shapesEnd = (head: Uint8Array): number => layersAt + 4 + layerBytes * viewOf(head).getUint32(layersAt, true);

/** What all snapshots of a model, its adapters, position settings and kind of tier have in common. Null for a head that an earlier version wrote. */
export function madeWith(head: Uint8Array): Uint8Array | null {
    const isRead = head.length >= layersAt + 4 && viewOf(head).getUint32(4, true) === version && shapesEnd(head) < head.length;
    return isRead ? head.subarray(originBegin, shapesEnd(head)) : null;
}

/** The head of a snapshot of the same tokens that has no rows: no blocks, no centres, no tail. Not for a head that an earlier version wrote. */
export function headWithoutRows(head: Uint8Array): Uint8Array {
    const tokens = shapesEnd(head), blocks = tokens + 4 + extentBytes, end = blocks + 8, tags = end + 4;
    const none = (bytes: number): Uint8Array => new Uint8Array(bytes);
    return Buffer.concat([head.subarray(0, tokens + 4), none(extentBytes + 8), head.subarray(end, tags), none(1), head.subarray(tags + 1 + 8 * head[tags]!)]);
}
