import {inspect, isDeepStrictEqual} from "node:util";
import {LlamaChatSession, type ChatHistoryItem, type LlamaContextSequence} from "node-llama-cpp";
import {EventRelay} from "lifecycle-utils";
import {DeltaStoreError} from "../errors.js";
import {invalid} from "../options.js";
import {chatWindowOf, setChatWindow, type ChatWindow} from "../runtime/chat-sessions.js";
import type {Restored, SaveOptions, Turn} from "./turn.js";

/**
 * A chat whose turns are saved by themselves. A prompt resolves once nothing that the app does next can change its turn. `saved`, `Turns.close` and
 * the disposal of the context, the model or the Llama instance wait until the turn is stored.
 */
export interface KeptSession {
    /** The turn that the session continues; null if the conversation is new. */
    readonly restored: Restored | null;
    /** A turn was stored. Once a prompt. */
    readonly onSave: EventRelay<Turn>;
    /**
     * A turn could not be saved. The chat goes on, and the turns before stay. If nobody listens, the error is printed as a warning, and the next `saved`
     * throws it, or else `Turns.close`.
     */
    readonly onError: EventRelay<Error>;
    /**
     * Waits until all turns so far are saved.
     * @throws the error of a turn that could not be saved, if `onError` had no listener
     */
    saved(): Promise<void>;
    /** Saves no more turns. Waits for those that are being saved, and throws none of their errors. Idempotent. */
    end(): Promise<void>;
}

/** What keeping a session asks of `Turns`. */
export interface SavingTurns {
    restore(conversation: string, sequence: LlamaContextSequence): Promise<Restored>;
    /** `captured` settles once nothing that becomes of the sequence changes the turn. */
    beginSave(conversation: string, sequence: LlamaContextSequence, options: SaveOptions): {captured: Promise<unknown>; saved: Promise<Turn>};
    /** Remembers why a turn could not be saved. What it gives forgets it, once somebody was told. */
    rememberFailure(error: unknown): () => void;
    readonly closed: boolean;
}

/** By whom sessions are kept. What is closed keeps none. */
const kept = new WeakMap<LlamaChatSession, {turns: SavingTurns; release(): void}>();

/** What is kept with each turn. */
interface ChatData {
    history: ChatHistoryItem[];
    /** The part of the history that is in the context, where a context shift has cut some. */
    shifted?: ChatWindow | undefined;
}

function chatDataOf(session: LlamaChatSession): ChatData {
    const history = session.getChatHistory(), shifted = chatWindowOf(session);
    return {history, shifted: shifted === undefined || isDeepStrictEqual(shifted.window, history) ? undefined : shifted};
}

/** Apps that save turns themselves may keep something else with them. */
const isHistory = (value: unknown): value is ChatHistoryItem[] => Array.isArray(value) && value.every((item) => typeof (item as {type?: unknown} | null)?.type === "string");

function continueChat(session: LlamaChatSession, data: unknown): void {
    const {history, shifted} = (data ?? {}) as Partial<ChatData>;
    if (!isHistory(history)) return;
    session.setChatHistory(history);
    if (shifted !== undefined && isHistory(shifted.window)) setChatWindow(session, shifted);
}

/**
 * Continues a conversation in a chat session, if there is one of that name, and saves each turn of it from now on, beside the chat.
 * The newest turn that can be restored is continued; its chat history takes the place of the session's.
 * @throws DeltaStoreError as `Turns.restore`, but for TURN_NOT_FOUND; OPTION_INVALID if the session is kept already
 */
export async function keep(turns: SavingTurns, session: LlamaChatSession, conversation: string): Promise<KeptSession> {
    if (!(session instanceof LlamaChatSession))
        throw invalid(`keep needs a LlamaChatSession; given was ${inspect(session, {depth: -1})}`);
    if (session.disposed) throw new DeltaStoreError("DISPOSED", "The session is disposed");
    const before = kept.get(session);
    if (before !== undefined && !before.turns.closed) throw invalid("The session's turns are kept already");
    before?.release();
    const prompt = session.promptWithMeta, {sequence} = session;
    const release = (): void => {
        if (kept.get(session)?.release !== release) return;
        kept.delete(session);
        session.promptWithMeta = prompt;
    };
    kept.set(session, {turns, release});
    const relays = {onSave: new EventRelay<Turn>(), onError: new EventRelay<Error>()};
    let restored: Restored | null = null;
    try {
        restored = await turns.restore(conversation, session.sequence);
        continueChat(session, restored.data);
    } catch (error) {
        if ((error as Partial<DeltaStoreError>).code !== "TURN_NOT_FOUND") {
            release();
            throw error;
        }
    }
    let saving: Promise<unknown> = Promise.resolve(), ended = false;
    /** Errors that `saved` is to throw. `told` makes the turns forget one. */
    const untold: {error: unknown; told: () => void}[] = [];
    const fail = (error: unknown): void => {
        if (relays.onError.listenerCount > 0) return relays.onError.dispatchEvent(error as Error);
        untold.push({error, told: turns.rememberFailure(error)});
        process.emitWarning(`llama-deltastore could not save a turn of ${JSON.stringify(conversation)}: ${(error as Error).message}`, {code: "DELTASTORE_TURN_NOT_SAVED"});
    };
    /** Resolves once the turn is captured. The app may go on then: the turn is saved as it is now. */
    const save = async (): Promise<void> => {
        try {
            const {captured, saved} = turns.beginSave(conversation, sequence, {data: chatDataOf(session)});
            saving = Promise.all([saving, saved.then((turn) => relays.onSave.dispatchEvent(turn), fail)]);
            await captured.catch(() => undefined);  // `saved` tells
        } catch (error) {
            fail(error);
        }
    };
    session.promptWithMeta = async function (...args: Parameters<typeof prompt>) {
        const answer = await prompt.apply(session, args);
        if (!ended) await save();
        return answer;
    } as typeof prompt;
    return {
        ...relays, restored,
        saved: async () => {
            await saving;
            const failures = untold.splice(0);
            for (const {told} of failures) told();
            if (failures.length > 0) throw failures[0]!.error;
        },
        end: async () => {
            ended = true;
            release();
            await saving;
        }
    };
}
