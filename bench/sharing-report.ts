import {count, mib, table} from "./support/format.js";

/** bench/results/sharing.json, which bench/native/sharing_bench.cpp writes. */
export interface SharingPoint {
    tier: string;
    /** Sequences, and tokens of each. Absent in older files. */
    sequences?: number;
    tokens?: number;
    /** Of each sequence's tokens, those that all share. */
    sharedPercent: number;
    stockBytes: number;
    residentBytes: number;
    /** After the windows were packed. */
    idleBytes: number;
}

/** What the papers report: how much less memory one sequence takes, and 100 that share such a part. */
const papers = {single: 6.2, shared: new Map([[12, 6.7], [50, 31], [75, 55], [87, 62]])};

const ratio = (stock: number, resident: number) => `${(stock / resident).toFixed(1)}x`;

export function sharingTables(points: readonly SharingPoint[]): {sharing: string; sharingBound: string} {
    const {sequences = 100, tokens = 4096} = points[0]!;
    const bound = (percent: number) => papers.single * sequences / (percent / 100 + sequences * (1 - percent / 100));
    return {
        sharing: table(
            ["tier", "shared part", `resident, ${count(sequences)} sequences of ${count(tokens)} tokens`, "stock F16, each its own", "less by", "with idle windows packed"],
            points.map(({tier, sharedPercent, stockBytes, residentBytes, idleBytes}) =>
                [tier, `${sharedPercent}%`, mib(residentBytes), mib(stockBytes), ratio(stockBytes, residentBytes), ratio(stockBytes, idleBytes)])),
        sharingBound: table(["shared part", "the papers' figure", `their ${papers.single}x for one sequence, shared by ${count(sequences)}`],
            [...papers.shared].map(([percent, figure]) => [`${percent}%`, `${figure}x`, `${bound(percent).toFixed(1)}x`]))
    };
}
