import {setTimeout as pause} from "node:timers/promises";
import {isEvaluating} from "../context/evaluating.js";

/**
 * While something is evaluated, work on stored rows rests this many times as long as it lasts. Two threads that share a core run at half speed each, so
 * evaluations lose a twentieth then. Freezing computes on a thread of low priority, and takes less from them.
 */
const restToWork = 11, restToFreezing = 5;

/** Milliseconds that freezing rests. Beside threads on all cores its work lasts long, and takes little from them. */
const longestRest = 250;

/** Rests after work that began then, in `performance.now()`'s milliseconds. @param longest milliseconds */
export async function restAfter(began: number, longest = Infinity): Promise<void> {
    await pause(Math.min((performance.now() - began) * restToWork, longest));
}

/** How long work goes on that nobody waits for. */
export interface Pace {
    /** Whether the process may end between two pieces of the work. */
    readonly background: boolean;
    /** @throws DeltaStoreError DISPOSED: the work is to end */
    ensureOpen(): void;
}

/** Gives way after a piece of work that began then, while any context of this process evaluates. */
export async function giveWay({background, ensureOpen}: Pace, began: number): Promise<void> {
    ensureOpen();
    const milliseconds = isEvaluating() ? Math.min((performance.now() - began) * restToFreezing, longestRest) : 0;
    if (milliseconds > 0 || background) await pause(milliseconds, undefined, {ref: !background});
    ensureOpen();
}
