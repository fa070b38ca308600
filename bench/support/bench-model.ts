import type {DeltaStore} from "../../ts/index.js";

/** Of every context here. It is node-llama-cpp's default, too. */
export const batchSize = 512;

export interface ModelShape {
    layers: number;
    kvHeads: number;
    headSize: number;
}

/** The loaded model, as an open cache sees it. */
export interface BenchModel {
    readonly store: DeltaStore;
    readonly shape: ModelShape;
    readonly threads: number;
}
