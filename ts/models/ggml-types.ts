/**
 * Values and bytes of a block, for the tensor types that GGUF files hold, by their number in `enum ggml_type`. The sizes
 * are those of the blocks in ggml-common.h. A type that isn't here is newer than this table.
 */
const blocks: ReadonlyMap<number, readonly [values: number, bytes: number]> = new Map([
    [0, [1, 4]], [1, [1, 2]],                                                   // F32, F16
    [2, [32, 18]], [3, [32, 20]], [6, [32, 22]], [7, [32, 24]],                 // Q4_0, Q4_1, Q5_0, Q5_1
    [8, [32, 34]], [9, [32, 36]],                                               // Q8_0, Q8_1
    [10, [256, 84]], [11, [256, 110]], [12, [256, 144]], [13, [256, 176]],      // Q2_K, Q3_K, Q4_K, Q5_K
    [14, [256, 210]], [15, [256, 292]],                                         // Q6_K, Q8_K
    [16, [256, 66]], [17, [256, 74]], [18, [256, 98]], [19, [256, 50]],         // IQ2_XXS, IQ2_XS, IQ3_XXS, IQ1_S
    [20, [32, 18]], [21, [256, 110]], [22, [256, 82]], [23, [256, 136]],        // IQ4_NL, IQ3_S, IQ2_S, IQ4_XS
    [24, [1, 1]], [25, [1, 2]], [26, [1, 4]], [27, [1, 8]], [28, [1, 8]],       // I8, I16, I32, I64, F64
    [29, [256, 56]], [30, [1, 2]], [34, [256, 54]], [35, [256, 66]],            // IQ1_M, BF16, TQ1_0, TQ2_0
    [39, [32, 17]], [40, [64, 36]], [41, [128, 18]], [42, [64, 18]]             // MXFP4, NVFP4, Q1_0, Q2_0
]);

/** Bytes of a tensor's data. A type that isn't known counts as 0: newer files must not be called damaged. */
export function tensorBytes(type: number, dimensions: readonly number[]): number {
    const block = blocks.get(type);
    if (block === undefined) return 0;
    const values = dimensions.reduce((product, size) => product * size, 1);
    return Math.ceil(values / block[0]) * block[1];
}
