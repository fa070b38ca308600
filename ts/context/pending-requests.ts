import {commonLength} from "./common-length.js";

/** A request under way. */
export interface Pending {
    readonly sequence: number;
    /** What the sequence holds once the request is evaluated. */
    readonly tokens: readonly number[];
    /** Where others can take these over. Null if they can anywhere. */
    readonly places: readonly number[] | null;
    /** Others can take over so many tokens. */
    reached: number;
    readonly waiting: Set<{length: number; resolve: () => void}>;
}

/** The requests of one context that are under way. Some wait for others, whose first tokens they have in common. */
export class PendingRequests {
    readonly #pending = new Set<Pending>();

    /** Those that began before. */
    all(): Pending[] {
        return [...this.#pending];
    }

    begin(request: Omit<Pending, "waiting">): Pending {
        const pending = {...request, waiting: new Set<{length: number; resolve: () => void}>()};
        this.#pending.add(pending);
        return pending;
    }

    end(pending: Pending): void {
        this.#pending.delete(pending);
        for (const {resolve} of pending.waiting) resolve();
    }

    /** Others can take over so many tokens of this sequence. */
    reached(sequence: number, length: number): void {
        for (const pending of this.#pending) {
            if (pending.sequence !== sequence) continue;
            pending.reached = Math.max(pending.reached, length);
            for (const waiting of pending.waiting) if (waiting.length <= length) waiting.resolve();
        }
    }

    /** How many of these tokens, `most` at most, the other request leaves to be taken over. */
    shared({tokens: others, places}: Pending, tokens: readonly number[], most: number): number {
        const common = commonLength(others, tokens);
        return places === null ? common : Math.max(0, ...places.filter((place) => place <= Math.min(common, most)));
    }

    /** Waits until so many tokens of the other request can be taken over, or it is done. */
    async wait(other: Pending, length: number): Promise<void> {
        if (this.#pending.has(other) && other.reached < length) await new Promise<void>((resolve) => other.waiting.add({length, resolve}));
    }
}
