/** Milliseconds from opening to the first time, and from the end of one time to the next. */
export const usualTimes = {first: 60_000, every: 3_600_000};

/** Does work in the background, again and again. Keeps no process alive. */
export class Cooling {
    readonly #work: () => Promise<void>;
    readonly #every: number;
    #timer: NodeJS.Timeout;
    #stopped = false;

    constructor(work: () => Promise<void>, {first, every} = usualTimes) {
        this.#work = work;
        this.#every = every;
        this.#timer = this.#in(first);
    }

    #in(milliseconds: number): NodeJS.Timeout {
        return setTimeout(() => void this.#work().finally(() => {
            if (!this.#stopped) this.#timer = this.#in(this.#every);
        }), milliseconds).unref();
    }

    stop(): void {
        this.#stopped = true;
        clearTimeout(this.#timer);
    }
}
