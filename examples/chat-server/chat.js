import {LlamaChatSession} from "node-llama-cpp";
import {Conversation, sequenceIdOf} from "./conversation.js";
import {isRefusal, Problem} from "./problem.js";
import {closing, Seats} from "./seats.js";
import {systemPrompt} from "./system-prompt.js";

/** Most conversations that are remembered. Those above are forgotten, the longest unused first. */
const mostConversations = 10_000;

/** Tokens, at most, that the model's chat format puts around a message and an answer. */
const formatTokens = 32;

/**
 * @typedef {object} Question
 * @property {string} [conversation]
 * @property {string} message
 * @property {number} maxTokens
 * @property {string} [tenant]
 *
 * @typedef {object} Watch
 * @property {AbortController} abort of the answer, when the client is gone
 * @property {(conversation: Conversation) => void} onStart the first text is about to come
 * @property {(text: string) => void} onText
 */

/**
 * @typedef {Omit<Watch, "abort"> & {message: string, maxTokens: number, arrival: number, signal: AbortSignal}} Answering
 */

/** Answers the questions of all conversations on one context. */
export class Chat {
    #context;
    #chatWrapper;
    #prefix;
    #seats;
    #turns;
    /** By id, the longest unused first. @type {Map<string, Conversation>} */
    #conversations = new Map();
    #started = 0;
    /** Of those that are being answered, by sequence. @type {Map<number, number>} */
    #attached = new Map();
    /** @type {Map<Promise<unknown>, AbortController>} */
    #running = new Map();

    /**
     * @param {import("node-llama-cpp").LlamaContext} context
     * @param {import("node-llama-cpp").ChatWrapper} chatWrapper of the model. To find it takes longer than a short answer, so it is found once
     * @param {import("node-llama-cpp").LlamaContextSequence} prefix holds the system prompt for the others
     * @param {{sequences: number, queue: number, turns: import("llama-deltastore").Turns | null}} options
     */
    constructor(context, chatWrapper, prefix, {sequences, queue, turns}) {
        this.#context = context;
        this.#chatWrapper = chatWrapper;
        this.#prefix = prefix;
        this.#seats = new Seats(sequences, queue);
        this.#turns = turns;
    }

    /**
     * @param {import("./runtime.js").Runtime} runtime
     * @param {{sequences: number, queue: number}} options
     */
    static async open({context, store, turns}, options) {
        const prefix = context.getSequence(), session = new LlamaChatSession({contextSequence: prefix, systemPrompt});
        await session.preloadPrompt("");
        const chat = new Chat(context, session.chatWrapper, prefix, {...options, turns});
        session.dispose();
        store.onEvent.createListener((event) => {
            if (event.type !== "attach") return;
            const before = chat.#attached.get(event.sequenceId);
            if (before !== undefined) chat.#attached.set(event.sequenceId, before + event.tokens);
        });
        return chat;
    }

    /**
     * Resolves once the whole answer is there or, if it was aborted, a part of it. A rejection before `onStart` leaves nothing behind.
     * @param {Question} question
     * @param {Watch} watch
     */
    async answer({conversation: id, message, maxTokens, tenant}, {abort, onStart, onText}) {
        const arrival = performance.now();
        const tokens = this.#prefix.nextTokenIndex + this.#context.model.tokenize(message).length + maxTokens + formatTokens;
        if (tokens > this.#context.contextSize)
            throw new Problem(400, "MESSAGE_TOO_LONG",
                `The system prompt, the message and maxTokens come to ${tokens} tokens; a conversation has ${this.#context.contextSize}`);
        const conversation = await this.#find(id, tenant);
        if (conversation.busy) throw new Problem(409, "CONVERSATION_BUSY", "This conversation's last answer is still being written");

        conversation.busy = true;
        const answering = this.#answerSeated(conversation, {message, maxTokens, arrival, signal: abort.signal, onStart, onText}).finally(() => {
            conversation.busy = false;
            this.#running.delete(answering);
        });
        this.#running.set(answering, abort);
        return await answering;
    }

    /** What sequences are used for, by the number that stats call them by. */
    get holders() {
        /** @type {Map<number, {name: string, answering: boolean}>} */
        const holders = new Map([[sequenceIdOf(this.#prefix), {name: "system prompt", answering: false}]]);
        for (const {number, busy, session} of this.#conversations.values())
            if (session !== null) holders.set(sequenceIdOf(session.sequence), {name: `chat ${number}`, answering: busy});
        return holders;
    }

    get load() {
        return {conversations: this.#conversations.size, answering: this.#running.size - this.#seats.waiting, waiting: this.#seats.waiting};
    }

    /**
     * Answers no more questions, and resolves once none is being answered.
     * @param {number} patience in milliseconds, after which answers are cut short
     */
    async close(patience) {
        this.#seats.close();
        const timer = setTimeout(() => {
            for (const abort of this.#running.values()) abort.abort(closing());
        }, patience);
        await Promise.allSettled(this.#running.keys());
        clearTimeout(timer);
    }

    /**
     * @param {Conversation} conversation
     * @param {Answering} options
     */
    async #answerSeated(conversation, options) {
        await this.#seats.take(conversation, options.signal);
        this.#remember(conversation);
        try {
            options.signal.throwIfAborted();
            return await this.#prompt(conversation, options);
        } finally {
            if (conversation.started) {
                await conversation.save();
                this.#seats.giveBack(conversation);
            } else this.#forget(conversation);
        }
    }

    /**
     * @param {Conversation} conversation
     * @param {Answering} options
     */
    async #prompt(conversation, {message, maxTokens, arrival, signal, onStart, onText}) {
        const begin = performance.now();
        const session = await conversation.open(this.#context, this.#chatWrapper), {sequence} = session;
        const sequenceId = sequenceIdOf(sequence), meter = sequence.tokenMeter.getState();
        let firstText = NaN, generated = 0;
        const start = () => {
            if (!Number.isNaN(firstText)) return;
            firstText = performance.now();
            conversation.started = true;
            onStart(conversation);
        };
        this.#attached.set(sequenceId, 0);
        try {
            const ask = () => session.promptWithMeta(message, {
                maxTokens, signal, stopOnAbortSignal: true, temperature: 0,
                onToken: (tokens) => { generated += tokens.length; },
                onTextChunk: (text) => {
                    start();
                    onText(text);
                }
            });
            const {stopReason} = await this.#withRoom(ask, () => Number.isNaN(firstText));
            if (!signal.aborted) start();  // an answer may be empty
            const {usedInputTokens, usedOutputTokens} = sequence.tokenMeter.diff(meter);
            return {
                conversation: conversation.id, stopReason,
                tokens: {
                    evaluated: usedInputTokens + usedOutputTokens, attached: this.#attached.get(sequenceId) ?? 0, generated,
                    conversation: sequence.nextTokenIndex
                },
                milliseconds: {
                    waited: Math.round(begin - arrival), firstToken: Math.round(firstText - arrival), total: Math.round(performance.now() - arrival)
                }
            };
        } finally {
            this.#attached.delete(sequenceId);
        }
    }

    /**
     * Asks, and asks again while the cache is full and an idle conversation gives up its sequence, the longest idle first.
     * @template T
     * @param {() => Promise<T>} ask
     * @param {() => boolean} repeatable
     */
    async #withRoom(ask, repeatable) {
        for (;;)
            try {
                return await ask();
            } catch (error) {
                if (!isRefusal(error) || !repeatable() || !await this.#seats.makeRoom()) throw error;
            }
    }

    /**
     * @param {string | undefined} id
     * @param {string | undefined} tenant
     */
    async #find(id, tenant) {
        if (id === undefined) return new Conversation(++this.#started, tenant, this.#turns);
        const saved = this.#conversations.has(id) || this.#turns === null ? null : await Conversation.find(id, this.#started + 1, this.#turns);
        if (saved !== null && !this.#conversations.has(id)) {
            this.#started++;
            this.#conversations.set(id, saved);
        }
        const conversation = this.#conversations.get(id);
        if (conversation === undefined || (tenant !== undefined && tenant !== conversation.tenant))
            throw new Problem(404, "CONVERSATION_UNKNOWN", "There is no such conversation; leave it out to begin one");
        return conversation;
    }

    /**
     * Remembers a conversation as the one that was used last. Those that have a sequence are not forgotten.
     * @param {Conversation} conversation
     */
    #remember(conversation) {
        this.#conversations.delete(conversation.id);
        this.#conversations.set(conversation.id, conversation);
        if (this.#conversations.size <= mostConversations) return;
        for (const {id, busy, session} of this.#conversations.values())
            if (!busy && session === null) {
                this.#conversations.delete(id);
                break;
            }
    }

    /** @param {Conversation} conversation that no client knows of */
    #forget(conversation) {
        this.#conversations.delete(conversation.id);
        this.#seats.giveUp(conversation);
    }
}
