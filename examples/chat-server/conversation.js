import {randomUUID} from "node:crypto";
import {LlamaChatSession} from "node-llama-cpp";
import {systemPrompt} from "./system-prompt.js";

/** What a conversation's sequence is asked for: the policy's rules go by its name. */
const sequenceOptions = (/** @type {string | undefined} */ tenant) => tenant === undefined ? {} : {name: tenant};

/**
 * The number that events and stats call a sequence by. node-llama-cpp has no public name for it.
 * @param {import("node-llama-cpp").LlamaContextSequence} sequence
 */
export const sequenceIdOf = (sequence) => /** @type {{_sequenceId: number}} */ (/** @type {unknown} */ (sequence))._sequenceId;

/** A chat, with a sequence of the context or, while it has none, as plain history. */
export class Conversation {
    /** Whoever knows it may go on with the conversation. */
    id = randomUUID();
    busy = false;
    /** Whether there was ever a text in answer. */
    started = false;
    /** @type {LlamaChatSession | null} */
    #session = null;
    /** @type {import("node-llama-cpp").ChatHistoryItem[] | null} */
    #history = null;

    /**
     * @param {number} number for people to tell conversations apart
     * @param {string | undefined} tenant
     */
    constructor(number, tenant) {
        this.number = number;
        this.tenant = tenant;
    }

    get session() {
        return this.#session;
    }

    /**
     * The session, on a sequence of this context.
     * @param {import("node-llama-cpp").LlamaContext} context
     * @param {import("node-llama-cpp").ChatWrapper} chatWrapper
     */
    open(context, chatWrapper) {
        if (this.#session !== null) return this.#session;
        this.#session = new LlamaChatSession({contextSequence: context.getSequence(sequenceOptions(this.tenant)), systemPrompt, chatWrapper});
        if (this.#history !== null) this.#session.setChatHistory(this.#history);
        return this.#session;
    }

    /** Gives the sequence up. What it held is evaluated again when the conversation comes back, or attached, if the cache has kept it. */
    async leave() {
        if (this.#session === null) return;
        const session = this.#session, {sequence} = session;
        this.#history = session.getChatHistory();
        this.#session = null;
        session.dispose();
        await sequence.dispose();
    }
}
