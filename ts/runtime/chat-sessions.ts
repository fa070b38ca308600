import type {ChatHistoryItem, LlamaChatSession} from "node-llama-cpp";
import {chatSessionInternals} from "./internals.js";

/** The part of a chat's history that is in the context. A context shift makes it shorter than the history. */
export interface ChatWindow {
    window: ChatHistoryItem[];
    /** Says what context shifts have cut. */
    metadata: unknown;
}

/** Undefined before the session's first evaluation. */
export function chatWindowOf(session: LlamaChatSession): ChatWindow | undefined {
    const last = chatSessionInternals(session)._lastEvaluation;
    return last === undefined ? undefined : {window: last.contextWindow, metadata: last.contextShiftMetadata};
}

/** Has the session's next evaluation go on with this window of its history. */
export function setChatWindow(session: LlamaChatSession, {window, metadata}: ChatWindow): void {
    const internals = chatSessionInternals(session);
    internals._lastEvaluation = {cleanHistory: session.getChatHistory(), contextWindow: window, contextShiftMetadata: metadata};
    internals._canUseContextWindowForCompletion = true;
}
