/** The last things that happened to a context's cache. */
export class EventLog {
    /** @type {{number: number, time: string, type: string}[]} */
    #events = [];
    #count = 0;
    #length;

    /**
     * @param {import("llama-deltastore").DeltaStore} store
     * @param {number} length
     */
    constructor(store, length) {
        this.#length = length;
        store.onEvent.createListener((event) => this.#add(event));
    }

    /** The newest first. */
    get events() {
        return this.#events.toReversed();
    }

    /** @param {import("llama-deltastore").StoreEvent} event */
    #add({context: _, ...event}) {
        const plain = "error" in event ? {...event, error: {code: event.error.code, message: event.error.message}} : event;
        this.#events.push({number: ++this.#count, time: new Date().toISOString(), ...plain});
        if (this.#events.length > this.#length) this.#events.shift();
    }
}
