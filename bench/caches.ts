/** The caches that benches compare: options of `createContext`. */
export interface BenchCache {
    name: string;
    options: object;
    /** Bits of a value in a stock cache, whose bytes nobody reports: they are computed. */
    bitsPerValue?: number;
}

const stock = {kvCache: "stock", flashAttention: true};
const stockType = (type: "Q8_0" | "Q4_0") => ({...stock, experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});

/** All others are compared with it. */
export const reference: BenchCache = {name: "stock F16", options: stock, bitsPerValue: 16};
export const quantizedStock: BenchCache[] = [
    {name: "stock Q8_0", options: stockType("Q8_0"), bitsPerValue: 8.5},
    {name: "stock Q4_0", options: stockType("Q4_0"), bitsPerValue: 4.5}
];
const ofTier = (name: string): BenchCache => ({name, options: {kvCache: name}});
export const tiers: BenchCache[] = ["exact", "high", "conservative", "compact"].map(ofTier);
/** They store rows in 4 and 2 bits, and drop some. */
export const evictingTiers: BenchCache[] = ["recommended", "balanced", "aggressive", "ultra"].map(ofTier);
export const caches: BenchCache[] = [reference, ...quantizedStock, ...tiers];
