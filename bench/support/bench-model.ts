import type {ModelShape} from "../../ts/engine/native.js";
import type {DeltaStore} from "../../ts/index.js";

/** Of every context here. It is node-llama-cpp's default, too. */
export const batchSize = 512;

/** The loaded model, as an open cache sees it. */
export interface BenchModel {
    readonly store: DeltaStore;
    readonly shape: ModelShape;
    readonly threads: number;
    /** What stock's F16 cache takes for so many tokens of each sequence. */
    stockBytes(sequences: number, tokens: number): number;
}

/** Whether all layers attend to all tokens. Windows and recurrent states can't go back to an earlier token. */
export const onlyAttention = ({windows, stateBytes}: ModelShape): boolean => windows.length === 0 && stateBytes === 0;
