import {randomUUID} from "node:crypto";
import {LlamaChatSession} from "node-llama-cpp";
import {systemPrompt} from "./system-prompt.js";

/** Options of a conversation's sequence. The policy's rules go by the name. */
const sequenceOptions = (/** @type {string | undefined} */ tenant) => tenant === undefined ? {} : {name: tenant};

/**
 * The number that events and stats call a sequence by. node-llama-cpp has no public name for it.
 * @param {import("node-llama-cpp").LlamaContextSequence} sequence
 */
export const sequenceIdOf = (sequence) => /** @type {{_sequenceId: number}} */ (/** @type {unknown} */ (sequence))._sequenceId;

const complain = (/** @type {Error} */ error) => console.error(error.message);

/** @typedef {{tenant?: string, history: import("node-llama-cpp").ChatHistoryItem[]}} Saved */

/** A chat, with a sequence of the context or, while it has none, as plain history. */
export class Conversation {
    /** Who knows it may go on with the conversation. */
    id = /** @type {string} */ (randomUUID());
    busy = false;
    /** Whether any answer ever had a text. */
    started = false;
    /** @type {LlamaChatSession | null} */
    #session = null;
    /** @type {import("node-llama-cpp").ChatHistoryItem[] | null} */
    #history = null;

    #turns;

    /**
     * @param {number} number by which people tell conversations apart
     * @param {string | undefined} tenant
     * @param {import("llama-deltastore").Turns | null} turns where it is saved
     */
    constructor(number, tenant, turns) {
        this.number = number;
        this.tenant = tenant;
        this.#turns = turns;
    }

    /**
     * A saved conversation, which may be older than this server process. Null if there is none.
     * @param {string} id
     * @param {number} number
     * @param {import("llama-deltastore").Turns} turns
     */
    static async find(id, number, turns) {
        const newest = await turns.newest(id);
        if (newest === null) return null;
        const {tenant, history} = /** @type {Saved} */ (newest.data), conversation = new Conversation(number, tenant, turns);
        conversation.id = id;
        conversation.started = true;
        conversation.#history = history;
        return conversation;
    }

    get session() {
        return this.#session;
    }

    /**
     * The session, on a sequence of this context.
     * @param {import("node-llama-cpp").LlamaContext} context
     * @param {import("node-llama-cpp").ChatWrapper} chatWrapper
     */
    async open(context, chatWrapper) {
        if (this.#session !== null) return this.#session;
        const sequence = context.getSequence(sequenceOptions(this.tenant));
        this.#session = new LlamaChatSession({contextSequence: sequence, systemPrompt, chatWrapper});
        if (this.#history === null) return this.#session;
        this.#session.setChatHistory(this.#history);
        await this.#turns?.restore(this.id, sequence).catch(complain);  // what is not restored is evaluated again
        return this.#session;
    }

    /** Saves what was said so far: it outlives the sequence, and the server. */
    async save() {
        if (this.#session === null || this.#turns === null) return;
        /** @type {Saved} */
        const data = {tenant: this.tenant, history: this.#session.getChatHistory()};
        await this.#turns.save(this.id, this.#session.sequence, {data}).catch(complain);
    }

    /** Gives the sequence up. When the conversation comes back, what the sequence held is restored, attached or evaluated again. */
    async leave() {
        if (this.#session === null) return;
        const session = this.#session, {sequence} = session;
        this.#history = session.getChatHistory();
        this.#session = null;
        session.dispose();
        await sequence.dispose();
    }
}
