import {closeSync, fstatSync, openSync, readSync} from "node:fs";

// LMDB's data format 2 on 64-bit little-endian machines (MDB_page, MDB_meta, MDB_db and MDB_node in its mdb.c); offsets in bytes.
const magic = 0xbeefc0de, formatVersion = 2;
const headerBytes = 24, metaBytes = 144, nodeBytes = 8;
const pageFlag = {branch: 1, leaf: 2, meta: 8}, kindFlags = 0x7f, bigDataFlag = 1;
const emptyPageBytes = 4096, emptyMapBytes = 1 << 17, integerKeysFlag = 8;
/** What LMDB writes for the root of an empty tree. */
const noPage = 2n ** 64n - 1n;

interface Meta {
    readonly pageBytes: number;
    /** The roots of two trees: of free pages, and of cells. */
    readonly roots: readonly bigint[];
    readonly transaction: bigint;
}

/**
 * Why LMDB must not open this data file; undefined if it may. LMDB trusts what it maps: a file that is cut short ends the process with a SIGBUS, and
 * a changed page may. Nobody may write to the file meanwhile.
 */
export function findDamage(path: string): string | undefined {
    let file: number;
    try {
        file = openSync(path, "r");
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
    }
    try {
        const bytes = fstatSync(file).size;
        return bytes === 0 ? undefined : damageIn((length, position) => readAt(file, length, position), bytes);
    } finally {
        closeSync(file);
    }
}

/** A file without cells, as LMDB makes it. */
export function emptyFile(): Buffer {
    const file = Buffer.alloc(2 * emptyPageBytes);
    for (const number of [0, 1]) {
        const page = file.subarray(number * emptyPageBytes), meta = page.subarray(headerBytes);
        page.writeUInt32LE(number, 0);
        page.writeUInt16LE(pageFlag.meta, 18);
        meta.writeUInt32LE(magic, 0);
        meta.writeUInt32LE(formatVersion, 4);
        meta.writeUInt32LE(emptyMapBytes, 16);
        meta.writeUInt32LE(emptyPageBytes, 24);
        meta.writeUInt16LE(integerKeysFlag, 28);
        for (const root of [64, 112]) meta.writeBigUInt64LE(noPage, root);
        meta.writeUInt32LE(1, 120);
    }
    return file;
}

type Read = (length: number, position: number) => Buffer;

function damageIn(read: Read, bytes: number): string | undefined {
    const first = readMeta(read(headerBytes + metaBytes, 0));
    if (typeof first === "string") return first;
    const second = readMeta(read(headerBytes + metaBytes, first.pageBytes));
    if (typeof second === "string") return second;
    if (first.pageBytes !== second.pageBytes) return "its two headers contradict each other";
    const {pageBytes, roots} = first.transaction >= second.transaction ? first : second;
    return damageInTrees(read, pageBytes, BigInt(Math.floor(bytes / pageBytes)), roots);
}

function readMeta(page: Buffer): Meta | string {
    if (page.length < headerBytes + metaBytes) return "it is cut short";
    const meta = page.subarray(headerBytes);
    if ((page.readUInt16LE(18) & pageFlag.meta) === 0 || meta.readUInt32LE(0) !== magic) return "it is not an LMDB file";
    if ((meta.readUInt32LE(4) & 0xffff) !== formatVersion) return `it has LMDB's format ${meta.readUInt32LE(4) & 0xffff}, not ${formatVersion}`;
    const pageBytes = meta.readUInt32LE(24);
    if (pageBytes < 512 || pageBytes > 65536 || (pageBytes & pageBytes - 1) !== 0) return "its header is damaged";
    // Flags of both trees. With others LMDB would look for keys in another order than they lie in.
    if (meta.readUInt16LE(28) !== integerKeysFlag || meta.readUInt16LE(76) !== 0) return "its header is damaged";
    return {pageBytes, roots: [meta.readBigUInt64LE(64), meta.readBigUInt64LE(112)], transaction: meta.readBigUInt64LE(128)};
}

/** The file may end before the last page that the header counts, but not before a page that a tree holds. */
function damageInTrees(read: Read, pageBytes: number, pages: bigint, roots: readonly bigint[]): string | undefined {
    const seen = new Set<bigint>(), open = roots.filter((root) => root !== noPage);
    for (let number = open.pop(); number !== undefined; number = open.pop()) {
        if (number >= pages) return "it is cut short";
        if (number < 2n || seen.has(number)) return `its page ${number} is damaged`;
        seen.add(number);
        const page = read(pageBytes, Number(number) * pageBytes);
        const children = page.length === pageBytes ? childrenOf(page, number) : undefined;
        if (children === undefined) return `its page ${number} is damaged`;
        if (children.some(({first, count}) => first + count > pages)) return "it is cut short";
        for (const {first, isTree} of children) if (isTree) open.push(first);
    }
    return undefined;
}

interface Child {
    readonly first: bigint;
    readonly count: bigint;
    /** A page of the tree, not one of a value's pages. */
    readonly isTree: boolean;
}

function childrenOf(page: Buffer, number: bigint): Child[] | undefined {
    const flags = page.readUInt16LE(18) & kindFlags, lower = page.readUInt16LE(20), upper = page.readUInt16LE(22), room = page.length - headerBytes;
    if (page.readBigUInt64LE(0) !== number || (flags !== pageFlag.branch && flags !== pageFlag.leaf) || lower > upper || upper > room) return undefined;
    const children: Child[] = [];
    for (let at = headerBytes; at < headerBytes + lower; at += 2) {
        const node = headerBytes + page.readUInt16LE(at);
        if (node + nodeBytes > page.length) return undefined;
        const low = page.readUInt32LE(node), nodeFlags = page.readUInt16LE(node + 4), key = page.readUInt16LE(node + 6);
        const value = node + nodeBytes + key, isBig = (nodeFlags & bigDataFlag) !== 0;
        if (flags === pageFlag.branch) {
            if (value > page.length) return undefined;
            children.push({first: BigInt(low) + (BigInt(nodeFlags) << 32n), count: 1n, isTree: true});
        } else if (value + (isBig ? 24 : low) > page.length) return undefined;
        else if (isBig)
            children.push({first: page.readBigUInt64LE(value), count: page.readBigUInt64LE(value + 16), isTree: false});
    }
    return children;
}

function readAt(file: number, length: number, position: number): Buffer {
    const buffer = Buffer.alloc(length);
    return buffer.subarray(0, readSync(file, buffer, 0, length, position));
}
