import {AsyncLocalStorage} from "node:async_hooks";

/** The number of the sequence whose tokens are being erased. Before node-llama-cpp 3.22, restoring a checkpoint doesn't tell whose it is. */
export const restoringFor = new AsyncLocalStorage<number>();
