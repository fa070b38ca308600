/** The caches that benches compare: options of `createContext`. */
export interface BenchCache {
    name: string;
    options: object;
    /** What a value takes in a stock cache, whose bytes nobody reports. */
    bitsPerValue?: number;
}

const stock = {kvCache: "stock", flashAttention: true};
const stockType = (type: "Q8_0" | "Q4_0") => ({...stock, experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});

/** The one that others are compared with. */
export const reference: BenchCache = {name: "stock F16", options: stock, bitsPerValue: 16};
export const quantizedStock: BenchCache[] = [
    {name: "stock Q8_0", options: stockType("Q8_0"), bitsPerValue: 8.5},
    {name: "stock Q4_0", options: stockType("Q4_0"), bitsPerValue: 4.5}
];
const ofTier = (name: string): BenchCache => ({name, options: {kvCache: name}});
export const tiers: BenchCache[] = ["exact", "high", "conservative", "compact"].map(ofTier);
/** They store rows as `conservative` does, and drop some. */
export const evictingTiers: BenchCache[] = ["recommended", "balanced", "aggressive", "ultra"].map(ofTier);
export const caches: BenchCache[] = [reference, ...quantizedStock, ...tiers];
