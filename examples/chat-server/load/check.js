import {codeWordsIn} from "./dialogues.js";

/** All code words that were told, by any client. @type {Set<string>} */
const codeWords = new Set();

/** @param {string} codeWord */
export const tell = (codeWord) => codeWords.add(codeWord);

/**
 * What is wrong with a finished answer, or null.
 * @param {import("./ask.js").Attempt} attempt
 * @param {{conversation: string | undefined, codeWord: string | null, maxTokens: number, contextSize: number}} expected
 */
export function mistake({lines, text}, {conversation, codeWord, maxTokens, contextSize}) {
    const [start, ...rest] = lines, end = rest.pop();
    if (start?.type !== "start" || end?.type !== "end" || rest.some(({type}) => type !== "text")) return "not one start, texts, and an end";
    if (start.conversation !== end.conversation || (conversation !== undefined && conversation !== end.conversation)) return "another conversation's";
    const {generated, evaluated, conversation: tokens} = end.tokens;
    if (generated > maxTokens || tokens > contextSize || evaluated < generated - 1) return `counts can't be: ${JSON.stringify(end)}`;
    if (!["eogToken", "maxTokens"].includes(end.stopReason)) return `it ended by ${end.stopReason}`;
    const foreign = codeWordsIn(text).find((word) => word !== codeWord && codeWords.has(word));
    return foreign === undefined ? null : `it has ${foreign}, and ${codeWord ?? "no code word"} was told: ${JSON.stringify(text)}`;
}
