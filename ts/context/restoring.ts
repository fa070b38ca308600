import {AsyncLocalStorage} from "node:async_hooks";

/**
 * The sequence whose tokens are being erased, and the first of them. node-llama-cpp's checkpoints know neither: before 3.22 restoring one doesn't tell
 * whose it is, and those behind the first erased token are of other tokens than the sequence has then.
 */
export const restoringFor = new AsyncLocalStorage<{sequenceId: number; from: number}>();
